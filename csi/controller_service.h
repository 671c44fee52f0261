// The Controller service of CSI: makes, lists, grows and deletes volumes and
// snapshots of this node.
#ifndef RAMVOL_CSI_CONTROLLER_SERVICE_H_
#define RAMVOL_CSI_CONTROLLER_SERVICE_H_

#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "csi.grpc.pb.h"
#include "csi.pb.h"
#include "csi/calls.h"
#include "csi/volume_locks.h"
#include "csi/volumes.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"

namespace ramvol::csi_driver {

inline constexpr char kTopologyKey[] = "topology.csi.ramvol.dev/node";

// Borrows all that it is given. Thread-safe.
class ControllerService final : public ::csi::v1::Controller::Service {
 public:
  // Brings what a volume's file system holds back to the volume, as far as it
  // is mounted on this node. Takes the handle. Its errors are those of the
  // call: nothing is copied without what the caches hold.
  using Flush = std::function<absl::Status(const std::string&, absl::Time)>;

  // `context` comes back with each volume, for people.
  ControllerService(const Volumes* volumes, VolumeLocks* locks, Calls* calls,
                    std::map<std::string, std::string> context, Flush flush)
      : volumes_(volumes),
        locks_(locks),
        calls_(calls),
        volume_context_(std::move(context)),
        flush_(std::move(flush)) {}

  grpc::Status CreateVolume(grpc::ServerContext* context,
                            const ::csi::v1::CreateVolumeRequest* request,
                            ::csi::v1::CreateVolumeResponse* response) override;
  grpc::Status DeleteVolume(grpc::ServerContext* context,
                            const ::csi::v1::DeleteVolumeRequest* request,
                            ::csi::v1::DeleteVolumeResponse* response) override;
  grpc::Status ValidateVolumeCapabilities(
      grpc::ServerContext* context,
      const ::csi::v1::ValidateVolumeCapabilitiesRequest* request,
      ::csi::v1::ValidateVolumeCapabilitiesResponse* response) override;
  grpc::Status ListVolumes(grpc::ServerContext* context,
                           const ::csi::v1::ListVolumesRequest* request,
                           ::csi::v1::ListVolumesResponse* response) override;
  grpc::Status GetCapacity(grpc::ServerContext* context,
                           const ::csi::v1::GetCapacityRequest* request,
                           ::csi::v1::GetCapacityResponse* response) override;
  grpc::Status ControllerGetCapabilities(
      grpc::ServerContext* context,
      const ::csi::v1::ControllerGetCapabilitiesRequest* request,
      ::csi::v1::ControllerGetCapabilitiesResponse* response) override;
  grpc::Status CreateSnapshot(
      grpc::ServerContext* context,
      const ::csi::v1::CreateSnapshotRequest* request,
      ::csi::v1::CreateSnapshotResponse* response) override;
  grpc::Status DeleteSnapshot(
      grpc::ServerContext* context,
      const ::csi::v1::DeleteSnapshotRequest* request,
      ::csi::v1::DeleteSnapshotResponse* response) override;
  grpc::Status ListSnapshots(
      grpc::ServerContext* context,
      const ::csi::v1::ListSnapshotsRequest* request,
      ::csi::v1::ListSnapshotsResponse* response) override;
  grpc::Status GetSnapshot(grpc::ServerContext* context,
                           const ::csi::v1::GetSnapshotRequest* request,
                           ::csi::v1::GetSnapshotResponse* response) override;
  grpc::Status ControllerExpandVolume(
      grpc::ServerContext* context,
      const ::csi::v1::ControllerExpandVolumeRequest* request,
      ::csi::v1::ControllerExpandVolumeResponse* response) override;
  grpc::Status ControllerGetVolume(
      grpc::ServerContext* context,
      const ::csi::v1::ControllerGetVolumeRequest* request,
      ::csi::v1::ControllerGetVolumeResponse* response) override;

 private:
  absl::Status Create(const ::csi::v1::CreateVolumeRequest& request,
                      absl::Time deadline, ::csi::v1::Volume* response);
  // Sees to it that a volume can be made of its source, if it has one.
  absl::Status PrepareSource(const ::csi::v1::CreateVolumeRequest& request,
                             absl::Time deadline);
  absl::Status List(const ::csi::v1::ListVolumesRequest& request,
                    ::csi::v1::ListVolumesResponse* response);
  absl::Status Snapshot(const ::csi::v1::CreateSnapshotRequest& request,
                        absl::Time deadline, ::csi::v1::Snapshot* response);
  absl::Status List(const ::csi::v1::ListSnapshotsRequest& request,
                    ::csi::v1::ListSnapshotsResponse* response);
  absl::Status CheckTopology(
      const ::csi::v1::TopologyRequirement& requirement) const;
  bool IsHere(const ::csi::v1::Topology& topology) const;
  void Describe(const v1::Volume& volume, ::csi::v1::Volume* out) const;

  const Volumes* const volumes_;
  VolumeLocks* const locks_;
  Calls* const calls_;
  const std::map<std::string, std::string> volume_context_;
  const Flush flush_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_CONTROLLER_SERVICE_H_
