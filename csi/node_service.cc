#include "csi/node_service.h"

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "csi.grpc.pb.h"
#include "csi.pb.h"
#include "csi/calls.h"
#include "csi/capability.h"
#include "csi/controller_service.h"
#include "csi/node_volumes.h"
#include "csi/parameters.h"
#include "csi/volume_handle.h"
#include "csi/volume_locks.h"
#include "google/protobuf/map.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"

namespace ramvol::csi_driver {
namespace {

using ::csi::v1::NodeServiceCapability;
using ::csi::v1::VolumeCapability;
using ::csi::v1::VolumeUsage;
using Context = google::protobuf::Map<std::string, std::string>;

constexpr char kEphemeralKey[] = "csi.storage.k8s.io/ephemeral";

absl::Status CheckPath(const char* what, const std::string& path) {
  if (!path.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(what, " is missing"));
}

absl::Status CheckCall(const std::string& volume_id, const char* what,
                       const std::string& path) {
  const absl::Status valid = CheckHandle("volume_id", volume_id);
  return valid.ok() ? CheckPath(what, path) : valid;
}

std::string Get(const Context& context, const std::string& key) {
  const auto found = context.find(key);
  return found == context.end() ? "" : found->second;
}

absl::StatusOr<Access> ToAccess(const VolumeCapability& capability,
                                const Context& context) {
  const auto& mount = capability.mount();
  Access access;
  access.block = capability.has_block();
  access.fs_type =
      mount.fs_type().empty() ? Get(context, "fsType") : mount.fs_type();
  access.mount_options = {mount.mount_flags().begin(),
                          mount.mount_flags().end()};
  access.read_only = IsReadOnly(capability);
  access.exclusive = capability.access_mode().mode() ==
                     VolumeCapability::AccessMode::SINGLE_NODE_SINGLE_WRITER;
  auto recreate = ParseRecreation({context.begin(), context.end()});
  if (!recreate.ok()) return recreate.status();
  access.recreate = *std::move(recreate);
  return access;
}

void Add(const Usage& usage, VolumeUsage::Unit unit, VolumeUsage* out) {
  out->set_unit(unit);
  out->set_total(static_cast<int64_t>(usage.total));
  out->set_used(static_cast<int64_t>(usage.used));
  out->set_available(static_cast<int64_t>(usage.available));
}

}  // namespace

grpc::Status NodeService::NodeStageVolume(
    grpc::ServerContext* context,
    const ::csi::v1::NodeStageVolumeRequest* request,
    ::csi::v1::NodeStageVolumeResponse*) {
  const std::string& id = request->volume_id();
  const std::string& path = request->staging_target_path();
  return calls_->Run("NodeStageVolume", id, *context, [&](absl::Time deadline) {
    absl::Status valid = CheckCall(id, "staging_target_path", path);
    if (valid.ok()) valid = CheckCapability(request->volume_capability());
    if (!valid.ok()) return valid;
    const auto access =
        ToAccess(request->volume_capability(), request->volume_context());
    if (!access.ok()) return access.status();
    const auto lock = locks_->Take(id);
    if (!lock.ok()) return lock.status();
    return volumes_->Stage(id, path, *access, deadline);
  });
}

grpc::Status NodeService::NodeUnstageVolume(
    grpc::ServerContext* context,
    const ::csi::v1::NodeUnstageVolumeRequest* request,
    ::csi::v1::NodeUnstageVolumeResponse*) {
  const std::string& id = request->volume_id();
  const std::string& path = request->staging_target_path();
  return calls_->Run(
      "NodeUnstageVolume", id, *context, [&](absl::Time deadline) {
        const absl::Status valid = CheckCall(id, "staging_target_path", path);
        if (!valid.ok()) return valid;
        const auto lock = locks_->Take(id);
        if (!lock.ok()) return lock.status();
        return volumes_->Unstage(id, path, deadline);
      });
}

absl::Status NodeService::Publish(
    const ::csi::v1::NodePublishVolumeRequest& request, absl::Time deadline) {
  const std::string& id = request.volume_id();
  absl::Status valid = CheckCall(id, "target_path", request.target_path());
  if (valid.ok()) valid = CheckCapability(request.volume_capability());
  if (!valid.ok()) return valid;
  auto access = ToAccess(request.volume_capability(), request.volume_context());
  if (!access.ok()) return access.status();
  access->read_only_mount = request.readonly();
  const bool is_inline = Get(request.volume_context(), kEphemeralKey) == "true";
  const auto lock = locks_->Take(id);
  if (!lock.ok()) return lock.status();
  if (is_inline) {
    const auto parameters = ParseParameters(
        {request.volume_context().begin(), request.volume_context().end()},
        /*is_inline=*/true);
    if (!parameters.ok()) return parameters.status();
    return volumes_->PublishInline(id, request.target_path(), *parameters,
                                   *access, deadline);
  }
  valid = CheckPath("staging_target_path", request.staging_target_path());
  if (!valid.ok()) return valid;
  return volumes_->Publish(id, request.staging_target_path(),
                           request.target_path(), *access, deadline);
}

grpc::Status NodeService::NodePublishVolume(
    grpc::ServerContext* context,
    const ::csi::v1::NodePublishVolumeRequest* request,
    ::csi::v1::NodePublishVolumeResponse*) {
  return calls_->Run(
      "NodePublishVolume", request->volume_id(), *context,
      [&](absl::Time deadline) { return Publish(*request, deadline); });
}

grpc::Status NodeService::NodeUnpublishVolume(
    grpc::ServerContext* context,
    const ::csi::v1::NodeUnpublishVolumeRequest* request,
    ::csi::v1::NodeUnpublishVolumeResponse*) {
  const std::string& id = request->volume_id();
  const std::string& path = request->target_path();
  return calls_->Run(
      "NodeUnpublishVolume", id, *context, [&](absl::Time deadline) {
        const absl::Status valid = CheckCall(id, "target_path", path);
        if (!valid.ok()) return valid;
        const auto lock = locks_->Take(id);
        if (!lock.ok()) return lock.status();
        return volumes_->Unpublish(id, path, deadline);
      });
}

grpc::Status NodeService::NodeGetVolumeStats(
    grpc::ServerContext* context,
    const ::csi::v1::NodeGetVolumeStatsRequest* request,
    ::csi::v1::NodeGetVolumeStatsResponse* response) {
  const std::string& id = request->volume_id();
  const std::string& path = request->volume_path();
  return calls_->Run(
      "NodeGetVolumeStats", id, *context, [&](absl::Time deadline) {
        const absl::Status valid = CheckCall(id, "volume_path", path);
        if (!valid.ok()) return valid;
        const auto stats = volumes_->Stats(id, path, deadline);
        if (!stats.ok()) return stats.status();
        Add(stats->bytes, VolumeUsage::BYTES, response->add_usage());
        if (stats->inodes.has_value()) {
          Add(*stats->inodes, VolumeUsage::INODES, response->add_usage());
        }
        auto* const condition = response->mutable_volume_condition();
        condition->set_abnormal(stats->condition.abnormal());
        condition->set_message(stats->condition.message);
        return absl::OkStatus();
      });
}

grpc::Status NodeService::NodeExpandVolume(
    grpc::ServerContext* context,
    const ::csi::v1::NodeExpandVolumeRequest* request,
    ::csi::v1::NodeExpandVolumeResponse* response) {
  const std::string& id = request->volume_id();
  const std::string& path = request->volume_path();
  return calls_->Run(
      "NodeExpandVolume", id, *context, [&](absl::Time deadline) {
        const absl::Status valid = CheckCall(id, "volume_path", path);
        if (!valid.ok()) return valid;
        const auto size = ToRange(request->capacity_range());
        if (!size.ok()) return size.status();
        const auto lock = locks_->Take(id);
        if (!lock.ok()) return lock.status();
        const auto bytes = volumes_->Expand(id, path, *size, deadline);
        if (!bytes.ok()) return bytes.status();
        response->set_capacity_bytes(static_cast<int64_t>(*bytes));
        return absl::OkStatus();
      });
}

grpc::Status NodeService::NodeGetCapabilities(
    grpc::ServerContext*, const ::csi::v1::NodeGetCapabilitiesRequest*,
    ::csi::v1::NodeGetCapabilitiesResponse* response) {
  using Rpc = NodeServiceCapability::RPC;
  for (const auto type :
       {Rpc::STAGE_UNSTAGE_VOLUME, Rpc::GET_VOLUME_STATS, Rpc::EXPAND_VOLUME,
        Rpc::VOLUME_CONDITION, Rpc::SINGLE_NODE_MULTI_WRITER}) {
    response->add_capabilities()->mutable_rpc()->set_type(type);
  }
  return grpc::Status::OK;
}

grpc::Status NodeService::NodeGetInfo(
    grpc::ServerContext*, const ::csi::v1::NodeGetInfoRequest*,
    ::csi::v1::NodeGetInfoResponse* response) {
  response->set_node_id(node_id_);
  (*response->mutable_accessible_topology()->mutable_segments())[kTopologyKey] =
      node_id_;
  return grpc::Status::OK;
}

}  // namespace ramvol::csi_driver
