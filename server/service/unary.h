// Runs unary calls of gRPC's callback API on the executor.
#ifndef RAMVOL_SERVER_SERVICE_UNARY_H_
#define RAMVOL_SERVER_SERVICE_UNARY_H_

#include <functional>

#include "absl/status/status.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/service/executor.h"

namespace ramvol::service {

// Runs `call` in `lane` and answers with what it returns; UNAVAILABLE when the
// executor's queue is full. `call` does not run when the client has given up
// before its turn came. Request and response live until the answer.
grpc::ServerUnaryReactor *RunUnary(grpc::CallbackServerContext *context,
                                   Executor *executor, Lane lane,
                                   std::function<absl::Status()> call);

// Answers with `status` at once.
grpc::ServerUnaryReactor *AnswerUnary(grpc::CallbackServerContext *context,
                                      const absl::Status &status);

// UNAVAILABLE, for a full queue.
absl::Status OverloadedError();

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_UNARY_H_
