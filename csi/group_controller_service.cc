#include "csi/group_controller_service.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "csi.grpc.pb.h"
#include "csi.pb.h"
#include "csi/calls.h"
#include "csi/group_snapshots.h"
#include "csi/parameters.h"
#include "csi/snapshot_message.h"
#include "csi/volume_handle.h"
#include "csi/volume_locks.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {
namespace {

using ::csi::v1::GroupControllerServiceCapability;

void Describe(const std::string& group,
              const std::vector<v1::Snapshot>& members,
              ::csi::v1::VolumeGroupSnapshot* out) {
  out->set_group_snapshot_id(group);
  out->set_ready_to_use(true);
  for (const v1::Snapshot& member : members) {
    ::csi::v1::Snapshot& snapshot = *out->add_snapshots();
    DescribeSnapshot(member, &snapshot);
    if (!snapshot.ready_to_use()) out->set_ready_to_use(false);
    // The same of all.
    *out->mutable_creation_time() = snapshot.creation_time();
  }
}

// No handle holds a line end, so no volume and no snapshot has this lock.
std::string LockOf(const std::string& group) {
  return absl::StrCat("\n", group);
}

}  // namespace

grpc::Status GroupControllerService::GroupControllerGetCapabilities(
    grpc::ServerContext*,
    const ::csi::v1::GroupControllerGetCapabilitiesRequest*,
    ::csi::v1::GroupControllerGetCapabilitiesResponse* response) {
  response->add_capabilities()->mutable_rpc()->set_type(
      GroupControllerServiceCapability::RPC::
          CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT);
  return grpc::Status::OK;
}

absl::Status GroupControllerService::Create(
    const ::csi::v1::CreateVolumeGroupSnapshotRequest& request,
    absl::Time deadline, ::csi::v1::VolumeGroupSnapshot* response) {
  absl::Status valid = CheckHandle("name", request.name());
  if (valid.ok() && request.source_volume_ids().empty()) {
    valid = absl::InvalidArgumentError("source_volume_ids are missing");
  }
  if (valid.ok()) {
    valid = CheckNoParameters(
        {request.parameters().begin(), request.parameters().end()});
  }
  const std::vector<std::string> volumes(request.source_volume_ids().begin(),
                                         request.source_volume_ids().end());
  for (const std::string& volume : volumes) {
    if (valid.ok()) valid = CheckHandle("source_volume_ids", volume);
  }
  if (!valid.ok()) return valid;
  const auto lock = locks_->Take(LockOf(request.name()));
  if (!lock.ok()) return lock.status();
  // For snapshots that are there, it is too late to write the caches back.
  auto members = groups_->FindMade(request.name(), volumes);
  if (absl::IsNotFound(members.status())) {
    for (const std::string& volume : volumes) {
      const absl::Status flushed = flush_(volume, deadline);
      if (!flushed.ok()) return flushed;
    }
    members = groups_->Create(request.name(), volumes);
  }
  if (!members.ok()) return members.status();
  Describe(request.name(), *members, response);
  return absl::OkStatus();
}

grpc::Status GroupControllerService::CreateVolumeGroupSnapshot(
    grpc::ServerContext* context,
    const ::csi::v1::CreateVolumeGroupSnapshotRequest* request,
    ::csi::v1::CreateVolumeGroupSnapshotResponse* response) {
  return calls_->Run("CreateVolumeGroupSnapshot", request->name(), *context,
                     [&](absl::Time deadline) {
                       return Create(*request, deadline,
                                     response->mutable_group_snapshot());
                     });
}

grpc::Status GroupControllerService::DeleteVolumeGroupSnapshot(
    grpc::ServerContext* context,
    const ::csi::v1::DeleteVolumeGroupSnapshotRequest* request,
    ::csi::v1::DeleteVolumeGroupSnapshotResponse*) {
  const std::string& id = request->group_snapshot_id();
  return calls_->Run(
      "DeleteVolumeGroupSnapshot", id, *context, [&](absl::Time) {
        const absl::Status valid = CheckHandle("group_snapshot_id", id);
        if (!valid.ok()) return valid;
        const auto lock = locks_->Take(LockOf(id));
        if (!lock.ok()) return lock.status();
        return groups_->Delete(id, {request->snapshot_ids().begin(),
                                    request->snapshot_ids().end()});
      });
}

grpc::Status GroupControllerService::GetVolumeGroupSnapshot(
    grpc::ServerContext* context,
    const ::csi::v1::GetVolumeGroupSnapshotRequest* request,
    ::csi::v1::GetVolumeGroupSnapshotResponse* response) {
  const std::string& id = request->group_snapshot_id();
  return calls_->Run("GetVolumeGroupSnapshot", id, *context, [&](absl::Time) {
    const absl::Status valid = CheckHandle("group_snapshot_id", id);
    if (!valid.ok()) return valid;
    const auto members = groups_->Find(
        id, {request->snapshot_ids().begin(), request->snapshot_ids().end()});
    if (!members.ok()) return members.status();
    Describe(id, *members, response->mutable_group_snapshot());
    return absl::OkStatus();
  });
}

}  // namespace ramvol::csi_driver
