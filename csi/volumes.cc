#include "csi/volumes.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/reason.h"
#include "base/size.h"
#include "csi/parameters.h"
#include "csi/volume_handle.h"
#include "google/protobuf/map.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {
namespace {

constexpr uint64_t kBlockBytes = 4096;
constexpr uint64_t kMaxVolumeBytes =
    static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) / kBlockBytes *
    kBlockBytes;
// ramvold notices at once that a device was detached, but not before it.
constexpr absl::Duration kDetachPatience = absl::Seconds(5);
constexpr absl::Duration kDetachPoll = absl::Milliseconds(10);
// Of a label's value in Kubernetes.
constexpr size_t kMaxNodeIdBytes = 63;

absl::Status NoSuch(const std::string& what, const std::string& handle) {
  return absl::NotFoundError(
      absl::StrCat("there is no ", what, " \"", handle, "\" on this node"));
}

std::string Get(const google::protobuf::Map<std::string, std::string>& labels,
                const char* key) {
  const auto found = labels.find(key);
  return found == labels.end() ? "" : found->second;
}

// Whether inline volumes may clone it, which anybody who writes a pod may name.
template <typename Source>
bool IsOffered(const Source& source) {
  return LabelOf(source, label::kImage) == source.name();
}

// Whether the label is the driver's, and says nothing of what has this name
// though another handle.
bool IsOriginals(const std::string& key, const std::string& value,
                 const std::string& name) {
  if (key == label::kFormatting || key == label::kFormatted) {
    return !absl::EndsWith(value, "@" + name);
  }
  return absl::StartsWith(key, label::kPrefix) && key != label::kImage;
}

// Labels travel with what somebody saves, and restores or renames to another
// name. The driver's are the original's then, which alone has its handle.
template <typename Entry>
void ForgetOriginal(Entry* entry) {
  const std::string handle = LabelOf(*entry, label::kHandle);
  if (handle.empty() || NameOfHandle(handle) == entry->name()) return;
  auto& labels = *entry->mutable_labels();
  for (auto each = labels.begin(); each != labels.end();) {
    each = IsOriginals(each->first, each->second, entry->name())
               ? labels.erase(each)
               : std::next(each);
  }
}

// What the driver has not made.
template <typename Entry>
void RemoveOthers(std::vector<Entry>* all) {
  for (Entry& entry : *all) ForgetOriginal(&entry);
  const auto is_other = [](const Entry& entry) {
    return LabelOf(entry, label::kHandle).empty();
  };
  all->erase(std::remove_if(all->begin(), all->end(), is_other), all->end());
}

absl::Status NotOffered(const std::string& image) {
  return absl::FailedPreconditionError(absl::StrCat(
      "parameter image is \"", image,
      "\", which is not offered to inline volumes; give one with the label ",
      label::kImage, "=", std::string(absl::StripPrefix(image, "@")),
      ", which ramvol set --label gives a volume, and ramvol snapshot create "
      "--label a snapshot"));
}

// Whether a setting that was asked for, if it was, is what it is.
template <typename T>
bool Fits(T wanted, T is) {
  return wanted == T() || wanted == is;
}

// Whether Create makes the volume of this source. An image is taken by what it
// is called, since it may be gone.
bool HasSource(const v1::Volume& volume, const NewVolume& wanted) {
  const std::string& image = wanted.parameters.image;
  if (!wanted.source.empty() || image.empty()) {
    return volume.source() == wanted.source;
  }
  return volume.source() == image || volume.source() == "@" + image;
}

// OK if the volume is what Create would make.
absl::Status CheckSame(const v1::Volume& volume, const NewVolume& new_volume) {
  if (LabelOf(volume, label::kHandle).empty()) {
    return absl::AlreadyExistsError(
        absl::StrCat("volume \"", volume.name(),
                     "\" exists, and it was not made by this driver"));
  }
  const SizeRange& size = new_volume.size;
  const v1::CreateVolumeRequest wanted = new_volume.parameters.ToRequest(0);
  const auto bytes = static_cast<uint64_t>(volume.size_bytes());
  std::string other;
  if (bytes < size.required_bytes ||
      (size.limit_bytes > 0 && bytes > size.limit_bytes)) {
    other = absl::StrCat("size is ", FormatSize(bytes));
  } else if (!HasSource(volume, new_volume)) {
    other = absl::StrCat("source is \"", volume.source(), "\"");
  } else if (!Fits(wanted.allocator(), volume.allocator()) ||
             !Fits(wanted.zstd_level(), volume.zstd_level()) ||
             !Fits(wanted.merge_zstd_level(), volume.merge_zstd_level()) ||
             !Fits(wanted.min_frame_bytes(), volume.min_frame_bytes()) ||
             !Fits(wanted.max_frame_bytes(), volume.max_frame_bytes())) {
    other = "parameters are others";
  } else {
    return absl::OkStatus();
  }
  return absl::AlreadyExistsError(absl::StrCat("volume \"", HandleOf(volume),
                                               "\" exists, and its ", other));
}

}  // namespace

absl::Status VolumesOptions::Validate() const {
  if (node_id.empty()) {
    return absl::InvalidArgumentError(
        "--node_id is required; give the name of this node");
  }
  if (node_id.size() > kMaxNodeIdBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--node_id is \"", node_id, "\", of ", node_id.size(),
        " characters; it becomes a label of the node, which Kubernetes bounds "
        "to ",
        kMaxNodeIdBytes, ": give the node a shorter name"));
  }
  if (!(overcommit >= 0.1 && overcommit <= 1000)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--overcommit is ", overcommit, "; give 0.1 to 1000"));
  }
  return absl::OkStatus();
}

std::string LabelOf(const v1::Volume& volume, const char* key) {
  return Get(volume.labels(), key);
}

std::string LabelOf(const v1::Snapshot& snapshot, const char* key) {
  return Get(snapshot.labels(), key);
}

absl::StatusOr<bool> HasVolume(const Client& client, const std::string& name,
                               const std::string& uid) {
  const auto volume = client.GetVolume(name);
  if (volume.ok() && volume->uid() == uid) return true;
  if (!volume.ok() && !absl::IsNotFound(volume.status())) {
    return volume.status();
  }
  const auto all = client.ListVolumes();
  if (!all.ok()) return all.status();
  return std::any_of(all->begin(), all->end(),
                     [&uid](const auto& each) { return each.uid() == uid; });
}

std::string HandleOf(const v1::Volume& volume) {
  const std::string handle = LabelOf(volume, label::kHandle);
  return handle.empty() ? volume.name() : handle;
}

std::string HandleOf(const v1::Snapshot& snapshot) {
  const std::string handle = LabelOf(snapshot, label::kHandle);
  return handle.empty() ? snapshot.name() : handle;
}

absl::StatusOr<uint64_t> ChooseSize(const SizeRange& range,
                                    uint64_t source_bytes) {
  uint64_t bytes = std::max(range.required_bytes, source_bytes);
  if (bytes == 0) {
    bytes = kDefaultVolumeBytes;
    if (range.limit_bytes > 0) {
      bytes = std::min(bytes, range.limit_bytes / kBlockBytes * kBlockBytes);
    }
  }
  if (bytes == 0 || bytes > kMaxVolumeBytes) {
    return absl::OutOfRangeError(absl::StrCat("no volume has ", bytes,
                                              " bytes; give ", kBlockBytes,
                                              " to ", kMaxVolumeBytes));
  }
  // Clones keep their source's size, even if it is no multiple.
  if (bytes != source_bytes) {
    bytes = (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
  }
  if (range.limit_bytes == 0 || bytes <= range.limit_bytes) return bytes;
  return absl::OutOfRangeError(absl::StrCat(
      "the volume would have ", bytes, " bytes, which is more than the limit, ",
      range.limit_bytes, " bytes"));
}

absl::StatusOr<v1::Volume> Volumes::Find(const std::string& handle) const {
  absl::StatusOr<v1::Volume> volume = client_.GetVolume(NameOfHandle(handle));
  if (absl::IsNotFound(volume.status())) return NoSuch("volume", handle);
  if (!volume.ok()) return volume;
  ForgetOriginal(&*volume);
  if (HandleOf(*volume) != handle) return NoSuch("volume", handle);
  return volume;
}

absl::StatusOr<v1::Snapshot> Volumes::FindSnapshot(
    const std::string& handle) const {
  absl::StatusOr<v1::Snapshot> snapshot =
      client_.GetSnapshot(NameOfHandle(handle));
  if (absl::IsNotFound(snapshot.status())) return NoSuch("snapshot", handle);
  if (snapshot.ok() && LabelOf(*snapshot, label::kHandle) != handle) {
    return NoSuch("snapshot", handle);
  }
  return snapshot;
}

absl::StatusOr<std::string> Volumes::ResolveImage(const std::string& image,
                                                  bool is_inline) const {
  const bool is_snapshot = absl::StartsWith(image, "@");
  if (is_snapshot && !is_inline) return image;
  if (!is_snapshot) {
    const auto volume = client_.GetVolume(image);
    if (volume.ok()) {
      if (is_inline && !IsOffered(*volume)) return NotOffered(image);
      return image;
    }
    if (!absl::IsNotFound(volume.status())) return volume.status();
  }
  const std::string name(absl::StripPrefix(image, "@"));
  const auto snapshot = client_.GetSnapshot(name);
  if (snapshot.ok()) {
    if (is_inline && !IsOffered(*snapshot)) return NotOffered(image);
    return "@" + name;
  }
  if (!absl::IsNotFound(snapshot.status())) return snapshot.status();
  return absl::NotFoundError(
      absl::StrCat("this node has no volume and no snapshot \"", image,
                   "\" to clone; import the image first"));
}

absl::StatusOr<uint64_t> Volumes::SizeOfSource(
    const std::string& source) const {
  if (source.empty()) return 0;
  const absl::StatusOr<v1::Volume> volume = client_.GetVolume(source);
  if (!volume.ok()) return volume.status();
  return static_cast<uint64_t>(volume->size_bytes());
}

absl::StatusOr<uint64_t> Volumes::AvailableBytes(
    v1::Allocator allocator) const {
  const auto info = client_.GetServerInfo();
  if (!info.ok()) return info.status();
  const int64_t left = std::max<int64_t>(
      0, info->memory_limit_bytes() - info->memory_used_bytes());
  const double ratio =
      allocator == v1::ALLOCATOR_MALLOC ? 1 : options_.overcommit;
  const double available = static_cast<double>(left) * ratio;
  if (available >= static_cast<double>(kMaxVolumeBytes)) return kMaxVolumeBytes;
  return static_cast<uint64_t>(available) / kBlockBytes * kBlockBytes;
}

absl::StatusOr<uint64_t> Volumes::LargestBytes(
    const Parameters& parameters) const {
  absl::StatusOr<uint64_t> shared = 0;
  if (!parameters.image.empty()) {
    const auto image = ResolveImage(parameters.image, /*is_inline=*/false);
    shared = image.ok() ? SizeOfSource(*image) : image.status();
  }
  if (absl::IsNotFound(shared.status())) return 0;
  if (!shared.ok()) return shared;
  const auto available = AvailableBytes(parameters.allocator);
  if (!available.ok()) return available;
  return std::min<uint64_t>(kMaxVolumeBytes, *shared + *available);
}

absl::Status Volumes::CheckRoom(uint64_t bytes, v1::Allocator allocator) const {
  const absl::StatusOr<uint64_t> available = AvailableBytes(allocator);
  if (!available.ok()) return available.status();
  if (bytes <= *available) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "this node has room for ", FormatSize(*available), ", not for ",
      FormatSize(bytes),
      " more; delete volumes, or raise ramvold's --memory_limit or "
      "ramvol-csi's --overcommit"));
}

absl::StatusOr<v1::Volume> Volumes::FindMade(const NewVolume& wanted) const {
  absl::StatusOr<v1::Volume> volume = Find(wanted.handle);
  if (!volume.ok()) return volume;
  absl::Status same = CheckSame(*volume, wanted);
  if (!same.ok()) return same;
  return volume;
}

absl::StatusOr<v1::Volume> Volumes::Create(const NewVolume& wanted) const {
  absl::StatusOr<v1::Volume> existing = FindMade(wanted);
  if (!absl::IsNotFound(existing.status())) return existing;
  std::string source = wanted.source;
  if (source.empty() && !wanted.parameters.image.empty()) {
    auto image =
        ResolveImage(wanted.parameters.image, !wanted.ephemeral_target.empty());
    if (!image.ok()) return image.status();
    source = *std::move(image);
  }
  const absl::StatusOr<uint64_t> source_bytes = SizeOfSource(source);
  if (!source_bytes.ok()) return source_bytes.status();
  const absl::StatusOr<uint64_t> bytes = ChooseSize(wanted.size, *source_bytes);
  if (!bytes.ok()) return bytes.status();
  // What a clone shares takes nothing.
  const absl::Status room =
      CheckRoom(*bytes - *source_bytes, wanted.parameters.allocator);
  if (!room.ok()) return room;
  v1::CreateVolumeRequest request = wanted.parameters.ToRequest(*bytes);
  request.set_source(source);
  request.set_name(NameOfHandle(wanted.handle));
  auto& labels = *request.mutable_labels();
  labels[label::kHandle] = wanted.handle;
  labels[label::kNode] = options_.node_id;
  if (!wanted.parameters.class_name.empty()) {
    labels[label::kClass] = wanted.parameters.class_name;
  }
  if (wanted.recreated) labels[label::kRecreated] = "true";
  if (!wanted.ephemeral_target.empty()) {
    labels[label::kEphemeral] = wanted.ephemeral_target.substr(0, 256);
  }
  return client_.CreateVolume(request);
}

absl::Status Volumes::Delete(const std::string& handle,
                             absl::Time deadline) const {
  const absl::StatusOr<v1::Volume> volume = Find(handle);
  if (absl::IsNotFound(volume.status())) return absl::OkStatus();
  if (!volume.ok()) return volume.status();
  if (LabelOf(*volume, label::kHandle).empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("volume \"", handle,
                     "\" was not made by this driver; delete it with ramvol"));
  }
  const absl::Time patience = std::min(deadline, absl::Now() + kDetachPatience);
  v1::DeleteVolumeRequest request;
  request.set_name(volume->name());
  while (true) {
    const absl::Status deleted = client_.DeleteVolume(request);
    if (absl::IsNotFound(deleted)) return absl::OkStatus();
    if (!HasReason(deleted, reason::kVolumeAttached) ||
        absl::Now() >= patience) {
      return deleted;
    }
    absl::SleepFor(kDetachPoll);
  }
}

absl::StatusOr<v1::Volume> Volumes::Expand(const std::string& handle,
                                           const SizeRange& size) const {
  absl::StatusOr<v1::Volume> volume = Find(handle);
  if (!volume.ok()) return volume;
  const auto present = static_cast<uint64_t>(volume->size_bytes());
  const absl::StatusOr<uint64_t> bytes = ChooseSize(size, present);
  if (!bytes.ok()) return bytes.status();
  if (*bytes <= present) return volume;
  const absl::Status room = CheckRoom(*bytes - present, volume->allocator());
  if (!room.ok()) return room;
  v1::UpdateVolumeRequest request;
  request.set_name(volume->name());
  request.mutable_volume()->set_size_bytes(static_cast<int64_t>(*bytes));
  request.mutable_update_mask()->add_paths("size_bytes");
  request.set_etag(volume->etag());
  return client_.UpdateVolume(request);
}

absl::StatusOr<v1::Snapshot> Volumes::FindMadeSnapshot(
    const std::string& handle, const std::string& source_handle) const {
  absl::StatusOr<v1::Snapshot> snapshot = FindSnapshot(handle);
  if (!snapshot.ok() || (LabelOf(*snapshot, label::kSource) == source_handle &&
                         LabelOf(*snapshot, label::kGroup).empty())) {
    return snapshot;
  }
  return absl::AlreadyExistsError(absl::StrCat(
      "snapshot \"", handle, "\" exists, and is of another volume or a group"));
}

absl::StatusOr<v1::Snapshot> Volumes::CreateSnapshot(
    const std::string& handle, const std::string& source_handle) const {
  absl::StatusOr<v1::Snapshot> existing =
      FindMadeSnapshot(handle, source_handle);
  if (!absl::IsNotFound(existing.status())) return existing;
  const absl::StatusOr<v1::Volume> volume = Find(source_handle);
  if (!volume.ok()) return volume.status();
  v1::CreateSnapshotRequest request;
  request.set_volume(volume->name());
  request.set_name(NameOfHandle(handle));
  auto& labels = *request.mutable_labels();
  labels[label::kHandle] = handle;
  labels[label::kSource] = source_handle;
  labels[label::kNode] = options_.node_id;
  return client_.CreateSnapshot(request);
}

absl::Status Volumes::DeleteSnapshot(const std::string& handle) const {
  const absl::StatusOr<v1::Snapshot> snapshot = FindSnapshot(handle);
  if (absl::IsNotFound(snapshot.status())) return absl::OkStatus();
  if (!snapshot.ok()) return snapshot.status();
  const std::string group = LabelOf(*snapshot, label::kGroup);
  if (!group.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("snapshot \"", handle,
                                                   "\" is of group \"", group,
                                                   "\"; delete the group"));
  }
  v1::DeleteSnapshotRequest request;
  request.set_name(snapshot->name());
  const absl::Status deleted = client_.DeleteSnapshot(request);
  return absl::IsNotFound(deleted) ? absl::OkStatus() : deleted;
}

absl::StatusOr<std::vector<v1::Volume>> Volumes::List() const {
  absl::StatusOr<std::vector<v1::Volume>> all = client_.ListVolumes();
  if (!all.ok()) return all;
  RemoveOthers(&*all);
  return all;
}

absl::StatusOr<std::vector<v1::Snapshot>> Volumes::ListSnapshots() const {
  absl::StatusOr<std::vector<v1::Snapshot>> all = client_.ListSnapshots();
  if (!all.ok()) return all;
  RemoveOthers(&*all);
  return all;
}

absl::StatusOr<v1::Volume> Volumes::Relabel(const v1::Volume& volume,
                                            const Labels& labels) const {
  // `volume` need not have all of them: see Find.
  auto whole = client_.GetVolume(volume.name());
  if (!whole.ok()) return whole;
  if (whole->etag() != volume.etag()) {
    return absl::AbortedError(
        absl::StrCat("volume \"", HandleOf(volume), "\" has changed since"));
  }
  v1::UpdateVolumeRequest request;
  request.set_name(volume.name());
  auto& all = *request.mutable_volume()->mutable_labels();
  all = whole->labels();
  bool is_new = false;
  for (const auto& [key, value] : labels) {
    is_new = is_new || Get(all, key) != value;
    if (value.empty()) {
      all.erase(key);
    } else {
      all[key] = value;
    }
  }
  if (!is_new) return whole;
  request.mutable_update_mask()->add_paths("labels");
  request.set_etag(volume.etag());
  return client_.UpdateVolume(request);
}

absl::StatusOr<bool> Volumes::HoldsNothing(const v1::Volume& volume) const {
  const auto stats = client_.StatVolume(volume.name());
  if (!stats.ok()) return stats.status();
  return stats->logical_bytes() == 0 && stats->restoring_bytes() == 0;
}

}  // namespace ramvol::csi_driver
