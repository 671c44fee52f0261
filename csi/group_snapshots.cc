#include "csi/group_snapshots.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "csi/volume_handle.h"
#include "csi/volumes.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {
namespace {

using Handles = std::set<std::string>;

Handles SourcesOf(const std::vector<v1::Snapshot>& members) {
  Handles sources;
  for (const v1::Snapshot& member : members) {
    sources.insert(LabelOf(member, label::kSource));
  }
  return sources;
}

Handles HandlesOf(const std::vector<v1::Snapshot>& members) {
  Handles handles;
  for (const v1::Snapshot& member : members) handles.insert(HandleOf(member));
  return handles;
}

absl::Status NoSuch(const std::string& group) {
  return absl::NotFoundError(
      absl::StrCat("there is no group snapshot \"", group, "\" on this node"));
}

absl::Status OtherMembers(const std::string& group) {
  return absl::InvalidArgumentError(
      absl::StrCat("snapshot_ids are not the members of group snapshot \"",
                   group, "\"; give those with which it was made"));
}

}  // namespace

absl::StatusOr<std::vector<v1::Snapshot>> GroupSnapshots::MembersOf(
    const std::string& group) const {
  absl::StatusOr<std::vector<v1::Snapshot>> all = volumes_->ListSnapshots();
  if (!all.ok()) return all;
  all->erase(std::remove_if(all->begin(), all->end(),
                            [&group](const v1::Snapshot& snapshot) {
                              return LabelOf(snapshot, label::kGroup) != group;
                            }),
             all->end());
  return all;
}

absl::StatusOr<std::vector<v1::Snapshot>> GroupSnapshots::FindMade(
    const std::string& group, const std::vector<std::string>& volumes) const {
  const Handles wanted(volumes.begin(), volumes.end());
  if (wanted.size() != volumes.size()) {
    return absl::InvalidArgumentError(
        "source_volume_ids name a volume twice; give each once");
  }
  absl::StatusOr<std::vector<v1::Snapshot>> existing = MembersOf(group);
  if (!existing.ok()) return existing;
  if (existing->empty()) return NoSuch(group);
  if (SourcesOf(*existing) == wanted) return existing;
  return absl::AlreadyExistsError(
      absl::StrCat("group snapshot \"", group,
                   "\" exists, and is of other volumes; delete it first"));
}

absl::StatusOr<std::vector<v1::Snapshot>> GroupSnapshots::Create(
    const std::string& group, const std::vector<std::string>& volumes) const {
  absl::StatusOr<std::vector<v1::Snapshot>> existing = FindMade(group, volumes);
  if (!absl::IsNotFound(existing.status())) return existing;
  v1::CreateSnapshotsRequest request;
  for (const std::string& handle : volumes) {
    const absl::StatusOr<v1::Volume> volume = volumes_->Find(handle);
    if (!volume.ok()) return volume.status();
    v1::CreateSnapshotRequest& snapshot = *request.add_snapshots();
    snapshot.set_volume(volume->name());
    snapshot.set_name(HandleOfMember(group, handle));
    auto& labels = *snapshot.mutable_labels();
    labels[label::kHandle] = snapshot.name();
    labels[label::kSource] = handle;
    labels[label::kGroup] = group;
    labels[label::kNode] = volumes_->node_id();
  }
  return volumes_->client().CreateSnapshots(request);
}

absl::StatusOr<std::vector<v1::Snapshot>> GroupSnapshots::Find(
    const std::string& group, const std::vector<std::string>& snapshots) const {
  absl::StatusOr<std::vector<v1::Snapshot>> members = MembersOf(group);
  if (!members.ok()) return members;
  if (members->empty()) return NoSuch(group);
  if (HandlesOf(*members) != Handles(snapshots.begin(), snapshots.end())) {
    return OtherMembers(group);
  }
  return members;
}

absl::Status GroupSnapshots::CheckMember(const std::string& group,
                                         const std::string& snapshot) const {
  const absl::StatusOr<v1::Snapshot> found = volumes_->FindSnapshot(snapshot);
  if (absl::IsNotFound(found.status())) return absl::OkStatus();
  if (!found.ok()) return found.status();
  return LabelOf(*found, label::kGroup) == group ? absl::OkStatus()
                                                 : OtherMembers(group);
}

absl::Status GroupSnapshots::Delete(
    const std::string& group, const std::vector<std::string>& snapshots) const {
  const absl::StatusOr<std::vector<v1::Snapshot>> members = MembersOf(group);
  if (!members.ok()) return members.status();
  const Handles wanted(snapshots.begin(), snapshots.end());
  const Handles present = HandlesOf(*members);
  if (!std::includes(wanted.begin(), wanted.end(), present.begin(),
                     present.end())) {
    return OtherMembers(group);
  }
  for (const std::string& snapshot : wanted) {
    const absl::Status ours = CheckMember(group, snapshot);
    if (!ours.ok()) return ours;
  }
  for (const v1::Snapshot& member : *members) {
    v1::DeleteSnapshotRequest request;
    request.set_name(member.name());
    const absl::Status deleted = volumes_->client().DeleteSnapshot(request);
    if (!deleted.ok() && !absl::IsNotFound(deleted)) return deleted;
  }
  return absl::OkStatus();
}

}  // namespace ramvol::csi_driver
