// Counts the calls of a gRPC server.
#ifndef RAMVOL_SERVER_SERVICE_RPC_COUNTER_H_
#define RAMVOL_SERVER_SERVICE_RPC_COUNTER_H_

#include "grpcpp/support/server_interceptor.h"
#include "server/service/rpc_stats.h"

namespace ramvol::service {

// Pass it to the server's builder. Thread-safe.
class RpcCounterFactory final
    : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  // Borrows `stats`, which must outlive the server.
  explicit RpcCounterFactory(const RpcStats* stats) : stats_(stats) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override;

 private:
  const RpcStats* const stats_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_RPC_COUNTER_H_
