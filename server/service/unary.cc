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
    if (messages_ != nullptr) messages_->Leave(bytes_);
    gate_->Leave();
    delete this;
  }
  // It is about to enter `messages`.
  void SetInside(ByteGate* messages, size_t bytes) {
    messages_ = messages;
    bytes_ = bytes;
  }

 private:
  CallGate* const gate_;
  ByteGate* messages_ = nullptr;
  size_t bytes_ = 0;
};

void Queue(Executor* executor, Lane lane, grpc::CallbackServerContext* context,
           GatedReactor* reactor, std::function<absl::Status()> call) {
  const bool queued =
      executor->Submit(lane, [context, reactor, call = std::move(call)] {
        reactor->Finish(context->IsCancelled() ? grpc::Status::CANCELLED
                                               : ToGrpcStatus(call()));
      });
  if (!queued) {
    reactor->Finish(ToGrpcStatus(absl::UnavailableError(
        "the server has more requests waiting than it accepts; try again "
        "later")));
  }
}

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
  Queue(executor_, lane, context, reactor, std::move(call));
  return reactor;
}

grpc::ServerUnaryReactor* UnaryRunner::RunInside(
    ByteGate* messages, size_t bytes, grpc::CallbackServerContext* context,
    Lane lane, std::function<absl::Status()> call) const {
  if (!gate_->Enter()) return Answer(context, ShuttingDownError());
  auto* const reactor = new GatedReactor(gate_);
  reactor->SetInside(messages, bytes);
  auto queue = [executor = executor_, lane, context, reactor,
                call = std::move(call)] {
    Queue(executor, lane, context, reactor, call);
  };
  if (messages->Enter(bytes, queue)) queue();
  return reactor;
}

}  // namespace ramvol::service
