// The Node service of CSI: brings volumes into pods.
#ifndef RAMVOL_CSI_NODE_SERVICE_H_
#define RAMVOL_CSI_NODE_SERVICE_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "csi.grpc.pb.h"
#include "csi.pb.h"
#include "csi/calls.h"
#include "csi/node_volumes.h"
#include "csi/volume_locks.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"

namespace ramvol::csi_driver {

// Borrows all that it is given. Thread-safe.
class NodeService final : public ::csi::v1::Node::Service {
 public:
  NodeService(std::string node_id, NodeVolumes* volumes, VolumeLocks* locks,
              Calls* calls)
      : node_id_(std::move(node_id)),
        volumes_(volumes),
        locks_(locks),
        calls_(calls) {}

  grpc::Status NodeStageVolume(
      grpc::ServerContext* context,
      const ::csi::v1::NodeStageVolumeRequest* request,
      ::csi::v1::NodeStageVolumeResponse* response) override;
  grpc::Status NodeUnstageVolume(
      grpc::ServerContext* context,
      const ::csi::v1::NodeUnstageVolumeRequest* request,
      ::csi::v1::NodeUnstageVolumeResponse* response) override;
  grpc::Status NodePublishVolume(
      grpc::ServerContext* context,
      const ::csi::v1::NodePublishVolumeRequest* request,
      ::csi::v1::NodePublishVolumeResponse* response) override;
  grpc::Status NodeUnpublishVolume(
      grpc::ServerContext* context,
      const ::csi::v1::NodeUnpublishVolumeRequest* request,
      ::csi::v1::NodeUnpublishVolumeResponse* response) override;
  grpc::Status NodeGetVolumeStats(
      grpc::ServerContext* context,
      const ::csi::v1::NodeGetVolumeStatsRequest* request,
      ::csi::v1::NodeGetVolumeStatsResponse* response) override;
  grpc::Status NodeExpandVolume(
      grpc::ServerContext* context,
      const ::csi::v1::NodeExpandVolumeRequest* request,
      ::csi::v1::NodeExpandVolumeResponse* response) override;
  grpc::Status NodeGetCapabilities(
      grpc::ServerContext* context,
      const ::csi::v1::NodeGetCapabilitiesRequest* request,
      ::csi::v1::NodeGetCapabilitiesResponse* response) override;
  grpc::Status NodeGetInfo(grpc::ServerContext* context,
                           const ::csi::v1::NodeGetInfoRequest* request,
                           ::csi::v1::NodeGetInfoResponse* response) override;

 private:
  absl::Status Publish(const ::csi::v1::NodePublishVolumeRequest& request,
                       absl::Time deadline);

  const std::string node_id_;
  NodeVolumes* const volumes_;
  VolumeLocks* const locks_;
  Calls* const calls_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_NODE_SERVICE_H_
