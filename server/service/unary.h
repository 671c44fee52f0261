// Runs unary calls of gRPC's callback API, within client memory.
#ifndef RAMVOL_SERVER_SERVICE_UNARY_H_
#define RAMVOL_SERVER_SERVICE_UNARY_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "base/client_memory.h"
#include "base/usage_limiter.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/service/call_gate.h"
#include "server/service/executor.h"

namespace ramvol::service {

// What a call that limits may hold up is told.
class Turn {
 public:
  // True: it may go on. False: it has to return, anything, and will be called
  // again when it may.
  [[nodiscard]] virtual bool Take(const UsageLimiters& limiters,
                                  const UsageCost& cost) = 0;
  // Whether Take said so.
  virtual bool waits() const = 0;

 protected:
  ~Turn() = default;
};

// A unary call before it runs.
struct UnaryTask {
  grpc::CallbackServerContext* context = nullptr;
  // What its request takes, and most that its answer takes, beside kCallBytes.
  size_t request_bytes = 0;
  size_t answer_bytes = 0;
  // Where `run` puts the answer.
  grpc::ByteBuffer* response = nullptr;
  std::function<absl::Status()> run;
  // Instead of `run`, of calls that take turns.
  std::function<absl::Status(Turn&)> run_in_turn = {};
};

// Charges each call before it runs and until its answer has left the process or
// was thrown away. Calls for which there is no memory wait, but those with
// large requests (ClientMemory::kLargeMessageBytes), for which there is room.
// Those that limits hold up keep their charge.
// The gate counts a call until its answer is out of the service's hands;
// request and response live until then. Thread-safe.
class UnaryRunner {
 public:
  // Borrows the first two; they must outlive the calls.
  UnaryRunner(Executor* executor, CallGate* gate,
              std::shared_ptr<ClientMemory> memory)
      : executor_(executor), gate_(gate), memory_(std::move(memory)) {}

  // Runs `task` in `lane` and answers with what it returns; UNAVAILABLE when
  // the gate is closed or the executor's queue is full. It does not run when
  // the client has given up before its turn came.
  grpc::ServerUnaryReactor* Run(Lane lane, UnaryTask task) const;

  // The same at once, on this thread, if there is memory.
  grpc::ServerUnaryReactor* RunHere(Lane lane, UnaryTask task) const;

  // Answers with `status`, an error, at once.
  static grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context,
                                          const absl::Status& status);

 private:
  Executor* const executor_;
  CallGate* const gate_;
  const std::shared_ptr<ClientMemory> memory_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_UNARY_H_
