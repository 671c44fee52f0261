// ramvol.v1.AccessService.
#ifndef RAMVOL_SERVER_SERVICE_ACCESS_SERVICE_H_
#define RAMVOL_SERVER_SERVICE_ACCESS_SERVICE_H_

#include <memory>

#include "base/client_memory.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "ramvol/v1/access_service.grpc.pb.h"
#include "server/service/call_access.h"
#include "server/service/call_gate.h"
#include "server/service/executor.h"
#include "server/service/unary.h"

namespace ramvol::service {

// The generated service with raw bytes as messages (call_message.h).
using AccessServiceBase = v1::AccessService::WithRawCallbackMethod_WhoAmI<
    v1::AccessService::WithRawCallbackMethod_CheckAccess<
        v1::AccessService::Service>>;

// Thread-safe. access_service.proto is the contract.
class AccessService final : public AccessServiceBase {
 public:
  // Borrows the first three, which must outlive the service and its calls.
  AccessService(const CallAccess* access, Executor* executor, CallGate* gate,
                std::shared_ptr<ClientMemory> memory);

  grpc::ServerUnaryReactor* WhoAmI(grpc::CallbackServerContext* context,
                                   const grpc::ByteBuffer* request,
                                   grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* CheckAccess(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override;

 private:
  const CallAccess* const access_;
  const UnaryRunner runner_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_ACCESS_SERVICE_H_
