// Runs unary calls of gRPC's callback API on the executor.
#ifndef RAMVOL_SERVER_SERVICE_UNARY_H_
#define RAMVOL_SERVER_SERVICE_UNARY_H_

#include <cstddef>
#include <functional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/service/byte_gate.h"
#include "server/service/call_gate.h"
#include "server/service/executor.h"

namespace ramvol::service {

// Thread-safe.
class UnaryRunner {
 public:
  // Borrows both; they must outlive the calls.
  UnaryRunner(Executor* executor, CallGate* gate)
      : executor_(executor), gate_(gate) {}

  // Runs `call` in `lane` and answers with what it returns; UNAVAILABLE when
  // the gate is closed or the executor's queue is full. `call` does not run
  // when the client has given up before its turn came. The gate counts the call
  // until its answer is out of the server's hands; request and response live
  // until then.
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context, Lane lane,
                                std::function<absl::Status()> call) const;

  // The same, once `messages` has let in `bytes`, which leave it when the
  // answer is out of the server's hands.
  grpc::ServerUnaryReactor* RunInside(ByteGate* messages, size_t bytes,
                                      grpc::CallbackServerContext* context,
                                      Lane lane,
                                      std::function<absl::Status()> call) const;

  // The same at once, on this thread.
  grpc::ServerUnaryReactor* RunHere(
      grpc::CallbackServerContext* context,
      absl::FunctionRef<absl::Status()> call) const;

  // Answers with `status` at once, and counts for no gate, which costs a tenth
  // of a small read. For what takes no time and changes nothing.
  static grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context,
                                          const absl::Status& status);

 private:
  Executor* const executor_;
  CallGate* const gate_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_UNARY_H_
