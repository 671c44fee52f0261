// Calls for the tests of the pipeline's parts.
#ifndef RAMVOL_TESTS_CLIENT_MAKE_CALL_H_
#define RAMVOL_TESTS_CLIENT_MAKE_CALL_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/call.h"
#include "client/call_table.h"
#include "client/io_transport.h"

namespace ramvol {

inline absl::Time At(int seconds) { return absl::FromUnixSeconds(seconds); }

// A call that nobody waits for.
inline std::shared_ptr<Call> MakeCall(OperationKind kind, int64_t offset = 0,
                                      int64_t length = 0,
                                      absl::Time deadline = At(1000)) {
  Request request;
  request.kind = kind;
  request.offset = offset;
  request.length = length;
  request.done = [](const absl::Status&) {};
  auto call = std::make_shared<Call>(std::move(request));
  call->deadline = deadline;
  return call;
}

// Takes all parts that wait.
inline std::vector<Part> TakeParts(CallTable& calls) {
  std::vector<Part> parts;
  while (calls.NextPartBytes().has_value()) parts.push_back(calls.TakePart());
  return parts;
}

}  // namespace ramvol

#endif  // RAMVOL_TESTS_CLIENT_MAKE_CALL_H_
