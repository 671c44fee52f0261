// ramvol.v1.VolumeService, the control plane, over the catalog.
#ifndef RAMVOL_SERVER_SERVICE_VOLUME_SERVICE_H_
#define RAMVOL_SERVER_SERVICE_VOLUME_SERVICE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/client_memory.h"
#include "base/mutex.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "ramvol/v1/volume_service.grpc.pb.h"
#include "server/engine/engine.h"
#include "server/saves/save_dir.h"
#include "server/service/call_access.h"
#include "server/service/call_gate.h"
#include "server/service/catalog.h"
#include "server/service/event_watchers.h"
#include "server/service/executor.h"
#include "server/service/unary.h"

namespace ramvol::service {

// The generated service with raw bytes as messages (call_message.h).
using VolumeServiceOfVolumes = v1::VolumeService::WithRawCallbackMethod_CreateVolume<
    v1::VolumeService::WithRawCallbackMethod_GetVolume<
        v1::VolumeService::WithRawCallbackMethod_ListVolumes<
            v1::VolumeService::WithRawCallbackMethod_UpdateVolume<
                v1::VolumeService::WithRawCallbackMethod_DeleteVolume<
                    v1::VolumeService::WithRawCallbackMethod_StatVolume<
                        v1::VolumeService::WithRawCallbackMethod_ListClients<
                            v1::VolumeService::WithRawCallbackMethod_GetServerInfo<
                                v1::VolumeService::
                                    WithRawCallbackMethod_RenameVolume<
                                        v1::VolumeService::
                                            WithRawCallbackMethod_WatchEvents<
                                                v1::VolumeService::
                                                    WithRawCallbackMethod_RevertVolume<
                                                        v1::VolumeService::
                                                            Service>>>>>>>>>>>;
using VolumeServiceBase = v1::VolumeService::WithRawCallbackMethod_SaveAll<
    v1::VolumeService::WithRawCallbackMethod_CreateSnapshot<
        v1::VolumeService::WithRawCallbackMethod_CreateSnapshots<
            v1::VolumeService::WithRawCallbackMethod_GetSnapshot<
                v1::VolumeService::WithRawCallbackMethod_ListSnapshots<
                    v1::VolumeService::WithRawCallbackMethod_DeleteSnapshot<
                        VolumeServiceOfVolumes>>>>>>;

// Thread-safe. volume_service.proto is the contract.
class VolumeService final : public VolumeServiceBase {
 public:
  // Borrows the first six, which must outlive the service and its calls. Calls
  // wait while `memory` is full.
  VolumeService(engine::Engine* engine, Catalog* catalog,
                EventWatchers* watchers, Executor* executor, CallGate* gate,
                const CallAccess* access, std::shared_ptr<ClientMemory> memory);

  // Sets grpc_addresses of GetServerInfo. Call this before clients can connect.
  void set_grpc_addresses(std::vector<std::string> addresses);
  // Sets where SaveAll saves; nullptr: nowhere. Call this before clients can
  // connect. Borrows it, as the constructor.
  void set_save_dir(saves::SaveDir* save_dir) { save_dir_ = save_dir; }
  // Sets nbd_addresses of GetServerInfo, empty until then, and nbd_tls.
  void set_nbd_addresses(std::vector<std::string> addresses, bool tls);
  // Sets vhost_user_dir of GetServerInfo, empty until then.
  void set_vhost_user_dir(std::string dir);

  grpc::ServerUnaryReactor* CreateVolume(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetVolume(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ListVolumes(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* UpdateVolume(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* RenameVolume(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* DeleteVolume(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* StatVolume(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ListClients(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* CreateSnapshot(grpc::CallbackServerContext* context,
                                           const grpc::ByteBuffer* request,
                                           grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* CreateSnapshots(
      grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
      grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetSnapshot(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ListSnapshots(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* DeleteSnapshot(grpc::CallbackServerContext* context,
                                           const grpc::ByteBuffer* request,
                                           grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* RevertVolume(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* SaveAll(grpc::CallbackServerContext* context,
                                    const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;
  EventWatchers::Reactor* WatchEvents(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request) override;

 private:
  // Makes a task of `call(const Request&, Response*)`, for who may call it.
  template <typename Request, typename Response, typename Call>
  UnaryTask Task(grpc::CallbackServerContext* context,
                 const grpc::ByteBuffer* request, grpc::ByteBuffer* response,
                 Call call) const;
  // These list what one may see, if there is a `sees`.
  absl::Status List(const CallAccess::Sees& sees,
                    const v1::ListVolumesRequest& request,
                    v1::ListVolumesResponse* response) const;
  absl::Status ListKept(const CallAccess::SeesSnapshot& sees,
                        const v1::ListSnapshotsRequest& request,
                        v1::ListSnapshotsResponse* response) const;
  absl::Status ListHolders(const v1::ListClientsRequest& request,
                           v1::ListClientsResponse* response) const;
  absl::Status Save(const grpc::CallbackServerContext& context,
                    v1::SaveAllResponse* response) const;
  // What is still to be read of a volume.
  int64_t RestoringBytes(const std::string& name) const;
  void FillInfo(v1::GetServerInfoResponse* info) const;

  engine::Engine* const engine_;
  Catalog* const catalog_;
  EventWatchers* const watchers_;
  CallGate* const gate_;
  saves::SaveDir* save_dir_ = nullptr;
  const CallAccess* const access_;
  const UnaryRunner runner_;
  const absl::Time start_time_;
  mutable Mutex mu_;
  std::vector<std::string> grpc_addresses_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> nbd_addresses_ ABSL_GUARDED_BY(mu_);
  bool nbd_tls_ ABSL_GUARDED_BY(mu_) = false;
  std::string vhost_user_dir_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_VOLUME_SERVICE_H_
