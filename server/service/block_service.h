// ramvol.v1.BlockService, the data path, over the engine.
#ifndef RAMVOL_SERVER_SERVICE_BLOCK_SERVICE_H_
#define RAMVOL_SERVER_SERVICE_BLOCK_SERVICE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/client_memory.h"
#include "base/cost_estimate.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "ramvol/v1/block_service.grpc.pb.h"
#include "server/engine/engine.h"
#include "server/service/call_access.h"
#include "server/service/call_gate.h"
#include "server/service/catalog.h"
#include "server/service/executor.h"
#include "server/service/image_streams.h"
#include "server/service/io_stream_set.h"
#include "server/service/unary.h"

namespace ramvol::service {

// The generated service with raw bytes as messages (io_wire.h, call_message.h).
using BlockServiceOfBlocks = v1::BlockService::WithRawCallbackMethod_Io<
    v1::BlockService::WithRawCallbackMethod_Read<
        v1::BlockService::WithRawCallbackMethod_Write<
            v1::BlockService::WithRawCallbackMethod_Trim<
                v1::BlockService::WithRawCallbackMethod_WriteZeroes<
                    v1::BlockService::WithRawCallbackMethod_Flush<
                        v1::BlockService::WithRawCallbackMethod_GetExtents<
                            v1::BlockService::
                                WithRawCallbackMethod_GetChangedExtents<
                                    v1::BlockService::Service>>>>>>>>;

using BlockServiceBase = v1::BlockService::WithRawCallbackMethod_Save<
    v1::BlockService::WithRawCallbackMethod_Restore<BlockServiceOfBlocks>>;

// Thread-safe. block_service.proto is the contract.
class BlockService final : public BlockServiceBase {
 public:
  // Borrows the first five, which must outlive the service and its calls.
  // Calls wait while `memory` is full.
  BlockService(engine::Engine* engine, Catalog* catalog, Executor* executor,
               CallGate* gate, const CallAccess* access,
               std::shared_ptr<ClientMemory> memory);

  // Ends all Io streams with UNAVAILABLE when they have answered what they
  // received, and those of images. Call this after the gate is closed. Returns
  // at once; the gate tells when the streams are gone.
  void Drain();

  // The number of open Io streams.
  size_t io_streams() { return streams_.size(); }

  // See IoStreamSet.
  void SetOperationHookForTest(IoStreamSet::Hook hook) {
    streams_.set_hook_for_test(std::move(hook));
  }

  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context,
                                 const grpc::ByteBuffer* request,
                                 grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Write(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Trim(grpc::CallbackServerContext* context,
                                 const grpc::ByteBuffer* request,
                                 grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* WriteZeroes(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Flush(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetExtents(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetChangedExtents(
      grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
      grpc::ByteBuffer* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Io(
      grpc::CallbackServerContext* context) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Save(
      grpc::CallbackServerContext* context,
      const grpc::ByteBuffer* request) override;
  grpc::ServerReadReactor<grpc::ByteBuffer>* Restore(
      grpc::CallbackServerContext* context,
      grpc::ByteBuffer* response) override;

 private:
  // Finds the volume that `request` names and runs call(volume, request,
  // response), for who may call it.
  template <typename Request, typename Response, typename Call>
  absl::Status CallVolume(const grpc::CallbackServerContext& context,
                          const Request& request, Response* response,
                          const Call& call) const;
  // Runs a call that lists extents; the response takes as much memory as its
  // `max_extents` allows.
  template <typename Request, typename Response, typename Call>
  grpc::ServerUnaryReactor* RunExtents(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response,
                                       Call call) const;
  // The same as a call on bytes. Its answer must not take more than kCallBytes.
  template <typename Request, typename Response, typename Call>
  UnaryTask OnVolume(grpc::CallbackServerContext* context,
                     const grpc::ByteBuffer* request,
                     grpc::ByteBuffer* response, Call call) const;
  // The same for what the volume's and the client's limits may hold up.
  // `bytes_of(request)` is what it moves.
  template <typename Request, typename Response, typename Bytes, typename Call>
  UnaryTask OnVolumeInTurn(grpc::CallbackServerContext* context,
                           const grpc::ByteBuffer* request,
                           grpc::ByteBuffer* response, Bytes bytes_of,
                           Call call) const;
  // Whether it is the turn of a call that moves `bytes`.
  bool HasTurn(Turn& turn, const grpc::CallbackServerContext& context,
               const engine::Volume& volume, uint64_t bytes) const;

  engine::Engine* const engine_;
  Executor* const executor_;
  CallGate* const gate_;
  const CallAccess* const access_;
  const std::shared_ptr<ClientMemory> memory_;
  const UnaryRunner runner_;
  CostEstimate write_cost_;  // Time of a small write.
  IoStreamSet streams_;
  ImageStreams images_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_BLOCK_SERVICE_H_
