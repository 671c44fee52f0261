#include "server/service/unary.h"

#include <utility>

#include "proto/status.h"

namespace ramvol::service {
namespace {

// Deletes itself when gRPC is done with it.
class GatedReactor final : public grpc::ServerUnaryReactor {
 public:
  explicit GatedReactor(CallGate* gate) : gate_(gate) {}
  void OnDone() override {
    gate_->Leave();
    delete this;
  }

 private:
  CallGate* const gate_;
};

}  // namespace

grpc::ServerUnaryReactor* UnaryRunner::Answer(
    grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

grpc::ServerUnaryReactor* UnaryRunner::RunHere(
    grpc::CallbackServerContext* context,
    absl::FunctionRef<absl::Status()> call) const {
  if (!gate_->Enter()) return Answer(context, ShuttingDownError());
  auto* const reactor = new GatedReactor(gate_);
  reactor->Finish(ToGrpcStatus(call()));
  return reactor;
}

grpc::ServerUnaryReactor* UnaryRunner::Run(
    grpc::CallbackServerContext* context, Lane lane,
    std::function<absl::Status()> call) const {
  if (!gate_->Enter()) return Answer(context, ShuttingDownError());
  auto* const reactor = new GatedReactor(gate_);
  const bool queued =
      executor_->Submit(lane, [context, reactor, call = std::move(call)] {
        reactor->Finish(context->IsCancelled() ? grpc::Status::CANCELLED
                                               : ToGrpcStatus(call()));
      });
  if (!queued) {
    reactor->Finish(ToGrpcStatus(absl::UnavailableError(
        "the server has more requests waiting than it accepts; try again "
        "later")));
  }
  return reactor;
}

}  // namespace ramvol::service
