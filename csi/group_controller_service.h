// The GroupController service of CSI: snapshots of several volumes of this node
// at one instant.
#ifndef RAMVOL_CSI_GROUP_CONTROLLER_SERVICE_H_
#define RAMVOL_CSI_GROUP_CONTROLLER_SERVICE_H_

#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "csi.grpc.pb.h"
#include "csi.pb.h"
#include "csi/calls.h"
#include "csi/group_snapshots.h"
#include "csi/volume_locks.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"

namespace ramvol::csi_driver {

// Borrows all that it is given. Thread-safe.
class GroupControllerService final
    : public ::csi::v1::GroupController::Service {
 public:
  // As of ControllerService. All volumes are flushed before the instant.
  using Flush = std::function<absl::Status(const std::string&, absl::Time)>;

  GroupControllerService(const GroupSnapshots* groups, VolumeLocks* locks,
                         Calls* calls, Flush flush)
      : groups_(groups),
        locks_(locks),
        calls_(calls),
        flush_(std::move(flush)) {}

  grpc::Status GroupControllerGetCapabilities(
      grpc::ServerContext* context,
      const ::csi::v1::GroupControllerGetCapabilitiesRequest* request,
      ::csi::v1::GroupControllerGetCapabilitiesResponse* response) override;
  grpc::Status CreateVolumeGroupSnapshot(
      grpc::ServerContext* context,
      const ::csi::v1::CreateVolumeGroupSnapshotRequest* request,
      ::csi::v1::CreateVolumeGroupSnapshotResponse* response) override;
  grpc::Status DeleteVolumeGroupSnapshot(
      grpc::ServerContext* context,
      const ::csi::v1::DeleteVolumeGroupSnapshotRequest* request,
      ::csi::v1::DeleteVolumeGroupSnapshotResponse* response) override;
  grpc::Status GetVolumeGroupSnapshot(
      grpc::ServerContext* context,
      const ::csi::v1::GetVolumeGroupSnapshotRequest* request,
      ::csi::v1::GetVolumeGroupSnapshotResponse* response) override;

 private:
  absl::Status Create(
      const ::csi::v1::CreateVolumeGroupSnapshotRequest& request,
      absl::Time deadline, ::csi::v1::VolumeGroupSnapshot* response);

  const GroupSnapshots* const groups_;
  VolumeLocks* const locks_;
  Calls* const calls_;
  const Flush flush_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_GROUP_CONTROLLER_SERVICE_H_
