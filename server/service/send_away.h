// Ends the calls of a client that held too much memory for too long.
#ifndef RAMVOL_SERVER_SERVICE_SEND_AWAY_H_
#define RAMVOL_SERVER_SERVICE_SEND_AWAY_H_

#include <cstddef>

#include "absl/status/status.h"
#include "grpc/grpc.h"

namespace ramvol::service {

// RESOURCE_EXHAUSTED, reason CLIENT_TOO_SLOW.
absl::Status ClientTooSlow(size_t held_bytes);

// A call that can be ended while its answer waits for the client. A status by
// gRPC's C++ API would queue behind that answer. Holds a reference to the call.
class EndableCall {
 public:
  // `call` must be alive.
  explicit EndableCall(grpc_call* call) : call_(call) { grpc_call_ref(call_); }
  ~EndableCall() { grpc_call_unref(call_); }

  EndableCall(const EndableCall&) = delete;
  EndableCall& operator=(const EndableCall&) = delete;

  // Ends the call with the code and message of `status`. There is no way to
  // send details here, so the message begins with the reason. May run the
  // call's reactions, so hold no lock that they take.
  void End(const absl::Status& status);

 private:
  grpc_call* const call_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_SEND_AWAY_H_
