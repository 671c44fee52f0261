#include "server/archive/volume_source.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/archive/cluster_codec.h"
#include "server/engine/types/blocks.h"

namespace ramvol::archive {
namespace {

using engine::EncodedForm;
using engine::kBlockBytes;
using engine::kChunkBytes;
using qcow2::ClusterKind;
using qcow2::ClusterPlan;
using qcow2::kTableEntries;

// What is asked of the engine at a time.
constexpr size_t kChunksAtOnce = 4096;
constexpr size_t kRangesAtOnce = 4096;
// ClusterPlan::mark: compressed again, and tightly at that.
constexpr uint32_t kAgainMark = 1;
constexpr uint32_t kTightMark = 2;

uint64_t FirstOf(uint64_t group) { return group * kTableEntries; }

// What is planned for it as a compressed cluster.
uint32_t PlannedBytes(const engine::StoredChunk& stored) {
  return CompressedBytes(stored.bytes, stored.runs);
}

bool Fits(const std::vector<ClusterPlan>& plan, uint32_t room) {
  qcow2::GroupData data;
  for (const ClusterPlan& cluster : plan) {
    data.Add(cluster.kind, cluster.bytes);
  }
  return qcow2::RoomFor(data) <= room;
}

absl::Status DoesNotFit(uint64_t chunk) {
  return absl::AbortedError(
      absl::StrCat("the frames at offset ", chunk * kChunkBytes,
                   " grew while the volume was being saved; save it again"));
}

}  // namespace

absl::Status VolumeSource::ForEachStored(uint64_t first, uint64_t last,
                                         bool holes, Visit visit) const {
  std::vector<engine::StoredChunk> found;
  std::optional<uint64_t> next = first;
  uint64_t at = first;
  absl::Status status;
  const auto holes_to = [&](uint64_t end) {
    for (; holes && status.ok() && at < end; ++at) {
      status = visit({.chunk = at});
    }
  };
  while (status.ok() && next.has_value()) {
    found.clear();
    next = volume_->ListStored(*next, last, kChunksAtOnce, &found);
    for (const engine::StoredChunk& stored : found) {
      holes_to(stored.chunk);
      if (!status.ok()) break;
      status = visit({stored.chunk, true, stored});
      at = stored.chunk + 1;
    }
  }
  holes_to(last + 1);
  // The walk ends early when it was deleted meanwhile, by force.
  return status.ok() ? volume_->Flush() : status;
}

absl::Status VolumeSource::ForEachChunk(uint64_t first, uint64_t last,
                                        Visit visit) const {
  const uint64_t size = volume_->size_bytes();
  last = std::min(last, (size - 1) / kChunkBytes);
  if (since_ == nullptr) return ForEachStored(first, last, false, visit);
  uint64_t offset = first * kChunkBytes;
  const uint64_t end = std::min((last + 1) * kChunkBytes, size);
  uint64_t next = first;  // The first chunk that was not visited.
  while (offset < end) {
    auto changes =
        volume_->GetChanges(*since_, offset, end - offset, kRangesAtOnce);
    absl::Status there = changes.ok() ? since_->Flush() : changes.status();
    if (!there.ok()) return there;
    for (const auto& range : changes->ranges) {
      const uint64_t from = std::max(next, range.offset_bytes / kChunkBytes);
      const uint64_t to =
          (range.offset_bytes + range.length_bytes - 1) / kChunkBytes;
      if (from > to) continue;
      absl::Status status = ForEachStored(from, to, true, visit);
      if (!status.ok()) return status;
      next = to + 1;
    }
    offset = changes->next_offset_bytes;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<qcow2::GroupRoom>> VolumeSource::Survey() {
  std::vector<qcow2::GroupRoom> groups;
  qcow2::GroupData data;
  const auto close = [&] {
    if (groups.empty()) return;
    groups.back().clusters = static_cast<uint32_t>(qcow2::RoomFor(data));
    data = {};
  };
  absl::Status status =
      ForEachChunk(0, ~uint64_t{0} / kChunkBytes, [&](const Chunk& chunk) {
        const auto group = static_cast<uint32_t>(chunk.chunk / kTableEntries);
        if (groups.empty() || groups.back().group != group) {
          close();
          groups.push_back({.group = group});
        }
        if (!chunk.is_stored) return absl::OkStatus();
        const uint32_t planned = PlannedBytes(chunk.stored);
        data.Add(planned > qcow2::kMaxCompressedBytes
                     ? ClusterKind::kRaw
                     : ClusterKind::kCompressed,
                 planned);
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  close();
  return groups;
}

absl::Status VolumeSource::Encode(uint64_t chunk, EncodedForm form) {
  absl::Status status = volume_->ReadEncoded(chunk, form, &encoded_);
  if (!status.ok()) return status;
  cluster_.resize(CompressedBytes(encoded_.bytes(),
                                  static_cast<int>(encoded_.runs.size())));
  cluster_.resize(WriteCluster(encoded_, absl::MakeSpan(cluster_)));
  return absl::OkStatus();
}

absl::Status VolumeSource::PlanEncoded(uint64_t chunk, EncodedForm form,
                                       ClusterPlan* plan) {
  absl::Status status = Encode(chunk, form);
  if (!status.ok()) return status;
  Forget(chunk);
  plan->bytes = static_cast<uint32_t>(cluster_.size());
  plan->kind = plan->bytes > qcow2::kMaxCompressedBytes
                   ? ClusterKind::kRaw
                   : ClusterKind::kCompressed;
  plan->mark = form == EncodedForm::kTight ? kTightMark : kAgainMark;
  if (plan->kind == ClusterKind::kCompressed &&
      kept_bytes_ + cluster_.size() <= kMaxKeptBytes) {
    kept_bytes_ += cluster_.size();
    kept_[chunk] = cluster_;
  }
  return absl::OkStatus();
}

void VolumeSource::Forget(uint64_t chunk) {
  const auto kept = kept_.find(chunk);
  if (kept == kept_.end()) return;
  kept_bytes_ -= kept->second.size();
  kept_.erase(kept);
}

absl::Status VolumeSource::PlanChunk(const Chunk& chunk, ClusterPlan* plan) {
  if (!chunk.is_stored) {
    plan->kind = ClusterKind::kZeroes;
    return absl::OkStatus();
  }
  if (!chunk.stored.exact) {
    return PlanEncoded(chunk.chunk, EncodedForm::kAsStored, plan);
  }
  plan->bytes = PlannedBytes(chunk.stored);
  plan->kind = plan->bytes > qcow2::kMaxCompressedBytes
                   ? ClusterKind::kRaw
                   : ClusterKind::kCompressed;
  return absl::OkStatus();
}

absl::Status VolumeSource::PlanGroup(uint32_t group, uint32_t room,
                                     std::vector<ClusterPlan>* plan) {
  group_ = group;
  kept_.clear();
  kept_bytes_ = 0;
  plan->clear();
  const uint64_t first = FirstOf(group);
  absl::Status status =
      ForEachChunk(first, first + kTableEntries - 1, [&](const Chunk& chunk) {
        ClusterPlan one{.index = static_cast<uint16_t>(chunk.chunk - first)};
        absl::Status planned = PlanChunk(chunk, &one);
        plan->push_back(one);
        return planned;
      });
  return status.ok() ? FitIn(room, plan) : status;
}

absl::Status VolumeSource::FitIn(uint32_t room,
                                 std::vector<ClusterPlan>* plan) {
  // Those whose room was a guess first: usually they are enough.
  for (const uint32_t mark : {kAgainMark, uint32_t{0}}) {
    for (size_t i = 0; i < plan->size() && !Fits(*plan, room); ++i) {
      ClusterPlan& cluster = (*plan)[i];
      if (cluster.kind == ClusterKind::kZeroes || cluster.mark != mark) {
        continue;
      }
      absl::Status status = Tighten(&cluster);
      if (!status.ok()) return status;
    }
  }
  return Fits(*plan, room) ? absl::OkStatus() : DoesNotFit(FirstOf(group_));
}

absl::Status VolumeSource::Tighten(ClusterPlan* cluster) {
  const uint64_t chunk = FirstOf(group_) + cluster->index;
  ClusterPlan tight = *cluster;
  absl::Status status = PlanEncoded(chunk, EncodedForm::kTight, &tight);
  if (!status.ok()) return status;
  if (cluster->kind == ClusterKind::kRaw || tight.bytes < cluster->bytes) {
    *cluster = tight;
  } else {
    Forget(chunk);
  }
  return status;
}

absl::Status VolumeSource::ReadCluster(const ClusterPlan& plan,
                                       absl::Span<char> out) {
  const uint64_t chunk = FirstOf(group_) + plan.index;
  if (const auto kept = kept_.find(chunk); kept != kept_.end()) {
    std::memcpy(out.data(), kept->second.data(), out.size());
    return absl::OkStatus();
  }
  if (plan.kind == ClusterKind::kRaw) {
    absl::Status status =
        volume_->ReadEncoded(chunk, EncodedForm::kRaw, &encoded_);
    if (!status.ok()) return status;
    std::memcpy(out.data(), encoded_.runs[0].bytes.data(), out.size());
    return absl::OkStatus();
  }
  absl::Status status =
      Encode(chunk, plan.mark == kTightMark ? EncodedForm::kTight
                                            : EncodedForm::kAsStored);
  // Its frames may be others than those that were planned.
  if (status.ok() && cluster_.size() > out.size()) {
    status = Encode(chunk, EncodedForm::kTight);
  }
  if (!status.ok()) return status;
  if (cluster_.size() > out.size()) return DoesNotFit(chunk);
  std::memcpy(out.data(), cluster_.data(), cluster_.size());
  std::memset(out.data() + cluster_.size(), 0, out.size() - cluster_.size());
  return absl::OkStatus();
}

}  // namespace ramvol::archive
