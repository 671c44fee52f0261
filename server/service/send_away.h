// How a client is told that it held too much for too long.
#ifndef RAMVOL_SERVER_SERVICE_SEND_AWAY_H_
#define RAMVOL_SERVER_SERVICE_SEND_AWAY_H_

#include <cstddef>

#include "absl/status/status.h"
#include "grpc/grpc.h"

namespace ramvol::service {

// RESOURCE_EXHAUSTED, reason CLIENT_TOO_SLOW.
absl::Status ClientTooSlow(size_t held_bytes);

// A call that can be ended although its answer waits for the client: a status
// by gRPC's means would wait behind that. Keeps the call.
class EndableCall {
 public:
  // Borrows `call`, which lives.
  explicit EndableCall(grpc_call* call) : call_(call) { grpc_call_ref(call_); }
  ~EndableCall() { grpc_call_unref(call_); }

  EndableCall(const EndableCall&) = delete;
  EndableCall& operator=(const EndableCall&) = delete;

  // Ends it with the code and the message of `status`, for which there are no
  // details on this way: the message begins with its reason. May run the
  // call's reactions: hold no lock of theirs.
  void End(const absl::Status& status);

 private:
  grpc_call* const call_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_SEND_AWAY_H_
