#include "server/service/rpc_counter.h"

#include <cstdint>

#include "base/clock.h"
#include "grpcpp/support/interceptor.h"
#include "grpcpp/support/status.h"

namespace ramvol::service {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;

// Counts one call. gRPC calls it on one thread at a time, except that a stream
// may receive and send at once; only sending touches `handled_`.
class RpcCounter final : public grpc::experimental::Interceptor {
 public:
  explicit RpcCounter(MethodStats* stats)
      : stats_(*stats), began_ns_(SteadyNowNs()) {
    stats_.Started();
  }
  ~RpcCounter() override {
    // No status was sent: the client cancelled the call or is gone.
    if (!handled_) Handled(grpc::StatusCode::CANCELLED);
  }

  void Intercept(InterceptorBatchMethods* batch) override {
    const auto at = [batch](InterceptionHookPoints point) {
      return batch->QueryInterceptionHookPoint(point);
    };
    // At a stream's end, this point comes without a message.
    if (at(InterceptionHookPoints::POST_RECV_MESSAGE) &&
        batch->GetRecvMessage() != nullptr) {
      stats_.Received();
    }
    if (at(InterceptionHookPoints::PRE_SEND_MESSAGE)) stats_.Sent();
    if (at(InterceptionHookPoints::PRE_SEND_STATUS)) {
      Handled(batch->GetSendStatus().error_code());
    }
    batch->Proceed();
  }

 private:
  void Handled(grpc::StatusCode code) {
    handled_ = true;
    stats_.Handled(code, SteadyNowNs() - began_ns_);
  }

  MethodStats& stats_;
  const int64_t began_ns_;
  bool handled_ = false;
};

}  // namespace

grpc::experimental::Interceptor* RpcCounterFactory::CreateServerInterceptor(
    grpc::experimental::ServerRpcInfo* info) {
  MethodStats* const stats = stats_->Find(info->method());
  return stats == nullptr ? nullptr : new RpcCounter(stats);
}

}  // namespace ramvol::service
