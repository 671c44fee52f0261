#include "csi/calls.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/event_log.h"
#include "base/log_line.h"
#include "base/mutex.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"
#include "proto/status.h"

namespace ramvol::csi_driver {

grpc::Status Calls::Run(const char* method, const std::string& volume,
                        const grpc::ServerContext& context, const Work& work) {
  const absl::Time begin = absl::Now();
  const absl::Time deadline =
      std::min(begin + kMaxCallTime, absl::FromChrono(context.deadline()));
  const absl::Status status = work(deadline);
  const absl::Duration took = absl::Now() - begin;
  if (!status.ok()) {
    const std::string message =
        absl::StrCat(method, ": ", std::string(status.message()));
    LogEvent(Event::kNote, {.volume = volume,
                            .reason = absl::StatusCodeToString(status.code()),
                            .message = message});
  }
  {
    const MutexLock lock(&mu_);
    auto& [calls, total] =
        counts_[{method, absl::StatusCodeToString(status.code())}];
    ++calls;
    total += took;
  }
  return ToGrpcStatus(status);
}

std::vector<Calls::Count> Calls::counts() const {
  const MutexLock lock(&mu_);
  std::vector<Count> counts;
  counts.reserve(counts_.size());
  for (const auto& [key, count] : counts_) {
    counts.push_back({key.first, key.second, count.first, count.second});
  }
  return counts;
}

}  // namespace ramvol::csi_driver
