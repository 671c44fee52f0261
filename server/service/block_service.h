// The data path: ramvol.v1.BlockService over the engine.
#ifndef RAMVOL_SERVER_SERVICE_BLOCK_SERVICE_H_
#define RAMVOL_SERVER_SERVICE_BLOCK_SERVICE_H_

#include <functional>
#include <string>
#include <utility>

#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "proto/base/cost_estimate.h"
#include "ramvol/v1/block_service.grpc.pb.h"
#include "server/engine/engine.h"
#include "server/service/call_gate.h"
#include "server/service/executor.h"
#include "server/service/io_stream.h"
#include "server/service/unary.h"

namespace ramvol::service {

// The generated service, of which Io's messages are bytes: see io_wire.h.
using BlockServiceBase = v1::BlockService::WithRawCallbackMethod_Io<
    v1::BlockService::WithCallbackMethod_Read<
        v1::BlockService::WithCallbackMethod_Write<
            v1::BlockService::WithCallbackMethod_Trim<
                v1::BlockService::WithCallbackMethod_WriteZeroes<
                    v1::BlockService::WithCallbackMethod_Flush<
                        v1::BlockService::WithCallbackMethod_GetExtents<
                            v1::BlockService::Service>>>>>>>;

// Thread-safe. block_service.proto is the contract.
class BlockService final : public BlockServiceBase {
 public:
  // Borrows all three; they must outlive the service and its calls.
  BlockService(engine::Engine* engine, Executor* executor, CallGate* gate);

  // Ends all Io streams, with UNAVAILABLE, once what they received is answered.
  // Returns at once: the gate, which has to be closed already, tells when they
  // are gone.
  void Drain();

  // Io streams that are open.
  size_t io_streams() { return streams_.size(); }

  // See IoStreamSet.
  void SetOperationHookForTest(IoStreamSet::Hook hook) {
    streams_.set_hook_for_test(std::move(hook));
  }

  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context,
                                 const v1::ReadRequest* request,
                                 v1::ReadResponse* response) override;
  grpc::ServerUnaryReactor* Write(grpc::CallbackServerContext* context,
                                  const v1::WriteRequest* request,
                                  v1::WriteResponse* response) override;
  grpc::ServerUnaryReactor* Trim(grpc::CallbackServerContext* context,
                                 const v1::TrimRequest* request,
                                 v1::TrimResponse* response) override;
  grpc::ServerUnaryReactor* WriteZeroes(
      grpc::CallbackServerContext* context,
      const v1::WriteZeroesRequest* request,
      v1::WriteZeroesResponse* response) override;
  grpc::ServerUnaryReactor* Flush(grpc::CallbackServerContext* context,
                                  const v1::FlushRequest* request,
                                  v1::FlushResponse* response) override;
  grpc::ServerUnaryReactor* GetExtents(
      grpc::CallbackServerContext* context,
      const v1::GetExtentsRequest* request,
      v1::GetExtentsResponse* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Io(
      grpc::CallbackServerContext* context) override;

 private:
  using Call = std::function<absl::Status(engine::Volume&)>;

  // Finds the volume and runs `call` on it.
  absl::Status CallVolume(const std::string& volume, const Call& call) const;
  // The same on the executor.
  grpc::ServerUnaryReactor* Submit(grpc::CallbackServerContext* context,
                                   Lane lane, const std::string& volume,
                                   Call call);

  engine::Engine* const engine_;
  Executor* const executor_;
  CallGate* const gate_;
  const UnaryRunner runner_;
  CostEstimate write_cost_;  // Of small writes.
  IoStreamSet streams_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_BLOCK_SERVICE_H_
