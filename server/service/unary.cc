#include "server/service/unary.h"

#include <utility>

#include "proto/status.h"

namespace ramvol::service {

absl::Status OverloadedError() {
  return absl::UnavailableError(
      "the server has more requests waiting than it accepts; try again later");
}

grpc::ServerUnaryReactor *AnswerUnary(grpc::CallbackServerContext *context,
                                      const absl::Status &status) {
  grpc::ServerUnaryReactor *reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

grpc::ServerUnaryReactor *RunUnary(grpc::CallbackServerContext *context,
                                   Executor *executor, Lane lane,
                                   std::function<absl::Status()> call) {
  grpc::ServerUnaryReactor *reactor = context->DefaultReactor();
  const bool queued =
      executor->Submit(lane, [context, reactor, call = std::move(call)] {
        reactor->Finish(context->IsCancelled() ? grpc::Status::CANCELLED
                                               : ToGrpcStatus(call()));
      });
  if (!queued) reactor->Finish(ToGrpcStatus(OverloadedError()));
  return reactor;
}

}  // namespace ramvol::service
