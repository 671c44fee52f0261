#include "csi/controller_service.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "csi.grpc.pb.h"
#include "csi.pb.h"
#include "csi/calls.h"
#include "csi/capability.h"
#include "csi/condition.h"
#include "csi/parameters.h"
#include "csi/snapshot_message.h"
#include "csi/volume_handle.h"
#include "csi/volume_locks.h"
#include "csi/volumes.h"
#include "google/protobuf/map.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {
namespace {

using ::csi::v1::ControllerServiceCapability;

// A token names the last entry of the page before, which may be gone by now.
constexpr char kTokenPrefix[] = "after:";

ParameterMap ToMap(
    const google::protobuf::Map<std::string, std::string>& parameters) {
  return {parameters.begin(), parameters.end()};
}

// Of all entries in the order of their names those of one page, and the token
// of the next page, or "". ABORTED: the token is not one of these.
template <typename Entry>
absl::StatusOr<std::pair<std::vector<Entry>, std::string>> PageOf(
    std::vector<Entry> all, const std::string& token, int32_t max_entries) {
  if (max_entries < 0) {
    return absl::InvalidArgumentError("max_entries is negative");
  }
  std::string after;
  if (!token.empty()) {
    if (!absl::StartsWith(token, kTokenPrefix)) {
      return absl::AbortedError(
          absl::StrCat("starting_token \"", token,
                       "\" is not of this driver; list from the beginning"));
    }
    after = token.substr(sizeof(kTokenPrefix) - 1);
  }
  const auto begin = std::find_if(
      all.begin(), all.end(),
      [&after](const Entry& entry) { return entry.name() > after; });
  std::vector<Entry> page(begin, all.end());
  std::string next;
  if (max_entries > 0 && page.size() > static_cast<size_t>(max_entries)) {
    page.resize(static_cast<size_t>(max_entries));
    next = kTokenPrefix + page.back().name();
  }
  return std::make_pair(std::move(page), std::move(next));
}

// A volume's name or "@SNAPSHOT", which may not be there; "" without a source.
std::string NameOfSource(const ::csi::v1::VolumeContentSource& source) {
  if (source.has_volume()) return NameOfHandle(source.volume().volume_id());
  if (!source.has_snapshot()) return "";
  return absl::StrCat("@", NameOfHandle(source.snapshot().snapshot_id()));
}

// NOT_FOUND: it is not there.
absl::Status CheckSource(const Volumes& volumes,
                         const ::csi::v1::VolumeContentSource& source) {
  if (source.has_volume()) {
    return volumes.Find(source.volume().volume_id()).status();
  }
  if (!source.has_snapshot()) return absl::OkStatus();
  return volumes.FindSnapshot(source.snapshot().snapshot_id()).status();
}

void Copy(const Condition& condition, ::csi::v1::VolumeCondition* out) {
  out->set_abnormal(condition.abnormal());
  out->set_message(condition.message);
}

}  // namespace

bool ControllerService::IsHere(const ::csi::v1::Topology& topology) const {
  const auto& segments = topology.segments();
  const auto node = segments.find(kTopologyKey);
  return node == segments.end() || node->second == volumes_->node_id();
}

absl::Status ControllerService::CheckTopology(
    const ::csi::v1::TopologyRequirement& requirement) const {
  if (requirement.requisite().empty()) return absl::OkStatus();
  for (const auto& topology : requirement.requisite()) {
    if (IsHere(topology)) return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("the volume is wanted on other nodes than this one, \"",
                   volumes_->node_id(), "\""));
}

void ControllerService::Describe(const v1::Volume& volume,
                                 ::csi::v1::Volume* out) const {
  out->set_volume_id(HandleOf(volume));
  out->set_capacity_bytes(volume.size_bytes());
  (*out->add_accessible_topology()->mutable_segments())[kTopologyKey] =
      volumes_->node_id();
}

absl::Status ControllerService::PrepareSource(
    const ::csi::v1::CreateVolumeRequest& request, absl::Time deadline) {
  const auto& source = request.volume_content_source();
  const absl::Status there = CheckSource(*volumes_, source);
  if (!there.ok() || !source.has_volume()) return there;
  return flush_(source.volume().volume_id(), deadline);
}

absl::Status ControllerService::Create(
    const ::csi::v1::CreateVolumeRequest& request, absl::Time deadline,
    ::csi::v1::Volume* response) {
  absl::Status valid = CheckHandle("name", request.name());
  if (valid.ok()) valid = CheckCapabilities(request.volume_capabilities());
  if (valid.ok()) valid = CheckTopology(request.accessibility_requirements());
  if (!valid.ok()) return valid;
  auto parameters =
      ParseParameters(ToMap(request.parameters()), /*is_inline=*/false);
  if (!parameters.ok()) return parameters.status();
  const auto size = ToRange(request.capacity_range());
  if (!size.ok()) return size.status();
  const auto lock = locks_->Take(request.name());
  if (!lock.ok()) return lock.status();
  // A copy is of what was there at its time, which is not there any more.
  const bool recreate =
      parameters->recreate && !request.has_volume_content_source();
  const NewVolume wanted = {
      .handle = request.name(),
      .parameters = *std::move(parameters),
      .size = *size,
      .source = NameOfSource(request.volume_content_source())};
  // Once it is made, its source may go.
  auto volume = volumes_->FindMade(wanted);
  if (absl::IsNotFound(volume.status())) {
    const absl::Status ready = PrepareSource(request, deadline);
    volume = ready.ok() ? volumes_->Create(wanted) : ready;
  }
  // Whoever names nodes is to try the others for a source or an image.
  if (absl::IsNotFound(volume.status()) &&
      !request.accessibility_requirements().requisite().empty()) {
    return absl::ResourceExhaustedError(volume.status().message());
  }
  if (!volume.ok()) return volume.status();
  Describe(*volume, response);
  response->mutable_volume_context()->insert(volume_context_.begin(),
                                             volume_context_.end());
  const std::string& fs_type = wanted.parameters.fs_type;
  if (!fs_type.empty())
    (*response->mutable_volume_context())["fsType"] = fs_type;
  if (recreate) {
    const ParameterMap context =
        RecreationContext(ToMap(request.parameters()),
                          static_cast<uint64_t>(volume->size_bytes()));
    response->mutable_volume_context()->insert(context.begin(), context.end());
  }
  if (request.has_volume_content_source()) {
    *response->mutable_content_source() = request.volume_content_source();
  }
  return absl::OkStatus();
}

grpc::Status ControllerService::CreateVolume(
    grpc::ServerContext* context, const ::csi::v1::CreateVolumeRequest* request,
    ::csi::v1::CreateVolumeResponse* response) {
  return calls_->Run(
      "CreateVolume", request->name(), *context, [&](absl::Time deadline) {
        return Create(*request, deadline, response->mutable_volume());
      });
}

grpc::Status ControllerService::DeleteVolume(
    grpc::ServerContext* context, const ::csi::v1::DeleteVolumeRequest* request,
    ::csi::v1::DeleteVolumeResponse*) {
  const std::string& id = request->volume_id();
  return calls_->Run("DeleteVolume", id, *context, [&](absl::Time deadline) {
    const absl::Status valid = CheckHandle("volume_id", id);
    if (!valid.ok()) return valid;
    const auto lock = locks_->Take(id);
    if (!lock.ok()) return lock.status();
    return volumes_->Delete(id, deadline);
  });
}

grpc::Status ControllerService::ValidateVolumeCapabilities(
    grpc::ServerContext* context,
    const ::csi::v1::ValidateVolumeCapabilitiesRequest* request,
    ::csi::v1::ValidateVolumeCapabilitiesResponse* response) {
  const std::string& id = request->volume_id();
  return calls_->Run(
      "ValidateVolumeCapabilities", id, *context,
      [&](absl::Time) -> absl::Status {
        const absl::Status valid = CheckHandle("volume_id", id);
        if (!valid.ok()) return valid;
        if (request->volume_capabilities().empty()) {
          return absl::InvalidArgumentError("volume_capabilities are missing");
        }
        const auto volume = volumes_->Find(id);
        if (!volume.ok()) return volume.status();
        absl::Status possible =
            CheckCapabilities(request->volume_capabilities());
        if (possible.ok()) {
          possible = ParseParameters(ToMap(request->parameters()),
                                     /*is_inline=*/false)
                         .status();
        }
        if (!possible.ok()) {
          response->set_message(std::string(possible.message()));
          return absl::OkStatus();
        }
        auto* confirmed = response->mutable_confirmed();
        *confirmed->mutable_volume_capabilities() =
            request->volume_capabilities();
        *confirmed->mutable_volume_context() = request->volume_context();
        *confirmed->mutable_parameters() = request->parameters();
        return absl::OkStatus();
      });
}

absl::Status ControllerService::List(
    const ::csi::v1::ListVolumesRequest& request,
    ::csi::v1::ListVolumesResponse* response) {
  auto all = volumes_->List();
  if (!all.ok()) return all.status();
  const auto page =
      PageOf(*std::move(all), request.starting_token(), request.max_entries());
  if (!page.ok()) return page.status();
  const auto server = volumes_->client().GetServerInfo();
  for (const v1::Volume& volume : page->first) {
    auto* const entry = response->add_entries();
    Describe(volume, entry->mutable_volume());
    Copy(ConditionOf(volumes_->client(), volume, server),
         entry->mutable_status()->mutable_volume_condition());
  }
  response->set_next_token(page->second);
  return absl::OkStatus();
}

grpc::Status ControllerService::ListVolumes(
    grpc::ServerContext* context, const ::csi::v1::ListVolumesRequest* request,
    ::csi::v1::ListVolumesResponse* response) {
  return calls_->Run("ListVolumes", "", *context,
                     [&](absl::Time) { return List(*request, response); });
}

grpc::Status ControllerService::GetCapacity(
    grpc::ServerContext* context, const ::csi::v1::GetCapacityRequest* request,
    ::csi::v1::GetCapacityResponse* response) {
  return calls_->Run(
      "GetCapacity", "", *context, [&](absl::Time) -> absl::Status {
        const auto parameters =
            ParseParameters(ToMap(request->parameters()), /*is_inline=*/false);
        if (!parameters.ok()) return parameters.status();
        if (!IsHere(request->accessible_topology())) return absl::OkStatus();
        const auto bytes = volumes_->LargestBytes(*parameters);
        if (!bytes.ok()) return bytes.status();
        response->set_available_capacity(static_cast<int64_t>(*bytes));
        response->mutable_maximum_volume_size()->set_value(
            static_cast<int64_t>(*bytes));
        return absl::OkStatus();
      });
}

grpc::Status ControllerService::ControllerGetCapabilities(
    grpc::ServerContext*, const ::csi::v1::ControllerGetCapabilitiesRequest*,
    ::csi::v1::ControllerGetCapabilitiesResponse* response) {
  using Rpc = ControllerServiceCapability::RPC;
  // Without EXPAND_VOLUME, though it answers: one controller of all nodes'
  // would be asked, and a volume is on one node. NodeExpandVolume does it all.
  for (const auto type :
       {Rpc::CREATE_DELETE_VOLUME, Rpc::LIST_VOLUMES, Rpc::GET_CAPACITY,
        Rpc::CREATE_DELETE_SNAPSHOT, Rpc::LIST_SNAPSHOTS, Rpc::GET_SNAPSHOT,
        Rpc::CLONE_VOLUME, Rpc::VOLUME_CONDITION, Rpc::GET_VOLUME,
        Rpc::SINGLE_NODE_MULTI_WRITER}) {
    response->add_capabilities()->mutable_rpc()->set_type(type);
  }
  return grpc::Status::OK;
}

absl::Status ControllerService::Snapshot(
    const ::csi::v1::CreateSnapshotRequest& request, absl::Time deadline,
    ::csi::v1::Snapshot* response) {
  absl::Status valid = CheckHandle("name", request.name());
  if (valid.ok()) {
    valid = CheckHandle("source_volume_id", request.source_volume_id());
  }
  if (valid.ok()) valid = CheckNoParameters(ToMap(request.parameters()));
  if (!valid.ok()) return valid;
  const auto lock = locks_->Take(absl::StrCat("@", request.name()));
  if (!lock.ok()) return lock.status();
  const std::string& source = request.source_volume_id();
  // For one that is there, it is too late to write the caches back.
  auto snapshot = volumes_->FindMadeSnapshot(request.name(), source);
  if (absl::IsNotFound(snapshot.status())) {
    const absl::Status flushed = flush_(source, deadline);
    if (!flushed.ok()) return flushed;
    snapshot = volumes_->CreateSnapshot(request.name(), source);
  }
  if (!snapshot.ok()) return snapshot.status();
  DescribeSnapshot(*snapshot, response);
  return absl::OkStatus();
}

grpc::Status ControllerService::CreateSnapshot(
    grpc::ServerContext* context,
    const ::csi::v1::CreateSnapshotRequest* request,
    ::csi::v1::CreateSnapshotResponse* response) {
  return calls_->Run(
      "CreateSnapshot", request->name(), *context, [&](absl::Time deadline) {
        return Snapshot(*request, deadline, response->mutable_snapshot());
      });
}

grpc::Status ControllerService::DeleteSnapshot(
    grpc::ServerContext* context,
    const ::csi::v1::DeleteSnapshotRequest* request,
    ::csi::v1::DeleteSnapshotResponse*) {
  const std::string& id = request->snapshot_id();
  return calls_->Run("DeleteSnapshot", id, *context, [&](absl::Time) {
    const absl::Status valid = CheckHandle("snapshot_id", id);
    if (!valid.ok()) return valid;
    const auto lock = locks_->Take(absl::StrCat("@", id));
    if (!lock.ok()) return lock.status();
    return volumes_->DeleteSnapshot(id);
  });
}

absl::Status ControllerService::List(
    const ::csi::v1::ListSnapshotsRequest& request,
    ::csi::v1::ListSnapshotsResponse* response) {
  auto all = volumes_->ListSnapshots();
  if (!all.ok()) return all.status();
  const auto unwanted = [&request](const v1::Snapshot& snapshot) {
    ::csi::v1::Snapshot found;
    DescribeSnapshot(snapshot, &found);
    return (!request.snapshot_id().empty() &&
            request.snapshot_id() != found.snapshot_id()) ||
           (!request.source_volume_id().empty() &&
            request.source_volume_id() != found.source_volume_id());
  };
  all->erase(std::remove_if(all->begin(), all->end(), unwanted), all->end());
  const auto page =
      PageOf(*std::move(all), request.starting_token(), request.max_entries());
  if (!page.ok()) return page.status();
  for (const v1::Snapshot& snapshot : page->first) {
    DescribeSnapshot(snapshot, response->add_entries()->mutable_snapshot());
  }
  response->set_next_token(page->second);
  return absl::OkStatus();
}

grpc::Status ControllerService::ListSnapshots(
    grpc::ServerContext* context,
    const ::csi::v1::ListSnapshotsRequest* request,
    ::csi::v1::ListSnapshotsResponse* response) {
  return calls_->Run("ListSnapshots", "", *context,
                     [&](absl::Time) { return List(*request, response); });
}

grpc::Status ControllerService::GetSnapshot(
    grpc::ServerContext* context, const ::csi::v1::GetSnapshotRequest* request,
    ::csi::v1::GetSnapshotResponse* response) {
  const std::string& id = request->snapshot_id();
  return calls_->Run("GetSnapshot", id, *context, [&](absl::Time) {
    const absl::Status valid = CheckHandle("snapshot_id", id);
    if (!valid.ok()) return valid;
    const auto snapshot = volumes_->FindSnapshot(id);
    if (!snapshot.ok()) return snapshot.status();
    DescribeSnapshot(*snapshot, response->mutable_snapshot());
    return absl::OkStatus();
  });
}

grpc::Status ControllerService::ControllerExpandVolume(
    grpc::ServerContext* context,
    const ::csi::v1::ControllerExpandVolumeRequest* request,
    ::csi::v1::ControllerExpandVolumeResponse* response) {
  const std::string& id = request->volume_id();
  return calls_->Run(
      "ControllerExpandVolume", id, *context, [&](absl::Time) -> absl::Status {
        const absl::Status valid = CheckHandle("volume_id", id);
        if (!valid.ok()) return valid;
        if (!request->has_capacity_range()) {
          return absl::InvalidArgumentError("capacity_range is missing");
        }
        const auto size = ToRange(request->capacity_range());
        if (!size.ok()) return size.status();
        const auto lock = locks_->Take(id);
        if (!lock.ok()) return lock.status();
        const auto volume = volumes_->Expand(id, *size);
        if (!volume.ok()) return volume.status();
        response->set_capacity_bytes(volume->size_bytes());
        response->set_node_expansion_required(true);
        return absl::OkStatus();
      });
}

grpc::Status ControllerService::ControllerGetVolume(
    grpc::ServerContext* context,
    const ::csi::v1::ControllerGetVolumeRequest* request,
    ::csi::v1::ControllerGetVolumeResponse* response) {
  const std::string& id = request->volume_id();
  return calls_->Run("ControllerGetVolume", id, *context, [&](absl::Time) {
    const absl::Status valid = CheckHandle("volume_id", id);
    if (!valid.ok()) return valid;
    const auto volume = volumes_->Find(id);
    if (!volume.ok()) return volume.status();
    Describe(*volume, response->mutable_volume());
    Copy(ConditionOf(volumes_->client(), *volume,
                     volumes_->client().GetServerInfo()),
         response->mutable_status()->mutable_volume_condition());
    return absl::OkStatus();
  });
}

}  // namespace ramvol::csi_driver
