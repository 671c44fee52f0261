#include "qcow2/chain_source.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace ramvol::qcow2 {

absl::StatusOr<ChainSource::Found> ChainSource::Find(uint64_t offset) {
  Found found;
  uint64_t length = size_bytes() - offset;
  for (; found.image < images_.size(); ++found.image) {
    ImageFile& image = *images_[found.image];
    if (offset >= image.size_bytes()) break;
    auto place = image.Find(offset);
    if (!place.ok()) return place.status();
    length = std::min(length, place->length);
    if (place->kind == ClusterKind::kAbsent) continue;
    found.place = *place;
    found.place.length = length;
    return found;
  }
  found.image = images_.size();
  found.place.length = length;
  return found;
}

absl::StatusOr<uint64_t> ChainSource::NextMaybe(uint64_t offset) {
  uint64_t next = size_bytes();
  for (const auto& image : images_) {
    if (offset >= image->size_bytes()) continue;
    auto maybe = image->NextMaybe(offset);
    if (!maybe.ok()) return maybe.status();
    if (*maybe < image->size_bytes()) next = std::min(next, *maybe);
  }
  return next == size_bytes() ? next : next / kClusterBytes * kClusterBytes;
}

absl::Status ChainSource::CountUse(size_t index, const Place& place) {
  const ImageFile& image = *images_[index];
  if (!counting_ || !image.header().has_value()) return absl::OkStatus();
  const uint64_t cluster = image.header()->cluster_bytes();
  // No compressed cluster is shorter than eight bytes.
  used_bytes_[index] +=
      place.kind == ClusterKind::kRaw
          ? std::min(cluster, kClusterBytes)
          : std::max<uint64_t>(
                1, 8 * kClusterBytes / std::max(cluster, kClusterBytes));
  if (used_bytes_[index] <= image.file_bytes() + kClusterBytes) {
    return absl::OkStatus();
  }
  return Damaged(absl::StrCat("it has more clusters than the ",
                              image.file_bytes(),
                              " bytes of its file can hold"));
}

absl::StatusOr<ClusterPlan> ChainSource::PlanCluster(uint64_t offset) {
  ClusterPlan plan{
      .index = static_cast<uint16_t>(offset / kClusterBytes % kTableEntries),
      .kind = ClusterKind::kAbsent};
  const uint64_t end = std::min(offset + kClusterBytes, size_bytes());
  for (uint64_t at = offset; at < end;) {
    auto found = Find(at);
    if (!found.ok()) return found.status();
    const Place& place = found->place;
    at += std::max<uint64_t>(1, place.length);
    if (place.kind == ClusterKind::kAbsent ||
        place.kind == ClusterKind::kZeroes) {
      continue;
    }
    absl::Status counted = CountUse(found->image, place);
    if (!counted.ok()) return counted;
    plan.kind = ClusterKind::kRaw;
    const auto& header = images_[found->image]->header();
    if (place.kind == ClusterKind::kCompressed &&
        header->compression == Compression::kZstd &&
        header->cluster_bits == kClusterBits && at >= end &&
        place.length == end - offset && place.bytes <= kMaxCompressedBytes) {
      plan.kind = ClusterKind::kCompressed;
      plan.bytes = place.bytes;
    }
    break;
  }
  return plan;
}

absl::StatusOr<std::vector<GroupRoom>> ChainSource::Survey() {
  std::vector<GroupRoom> groups;
  GroupData data;
  const auto close = [&] {
    if (groups.empty()) return;
    groups.back().clusters = static_cast<uint32_t>(RoomFor(data));
    data = {};
  };
  used_bytes_.assign(images_.size(), 0);
  counting_ = true;
  for (uint64_t offset = 0; offset < size_bytes(); offset += kClusterBytes) {
    auto next = NextMaybe(offset);
    if (!next.ok()) return next.status();
    offset = *next;
    if (offset >= size_bytes()) break;
    auto plan = PlanCluster(offset);
    if (!plan.ok()) return plan.status();
    if (plan->kind == ClusterKind::kAbsent) continue;
    const auto group = static_cast<uint32_t>(offset / kGroupBytes);
    if (groups.empty() || groups.back().group != group) {
      close();
      groups.push_back({.group = group});
    }
    data.Add(plan->kind, plan->bytes);
  }
  close();
  counting_ = false;
  return groups;
}

absl::Status ChainSource::PlanGroup(uint32_t group, uint32_t,
                                    std::vector<ClusterPlan>* plan) {
  group_ = group;
  plan->clear();
  const uint64_t begin = group * kGroupBytes;
  const uint64_t end = std::min(begin + kGroupBytes, size_bytes());
  for (uint64_t offset = begin; offset < end; offset += kClusterBytes) {
    auto next = NextMaybe(offset);
    if (!next.ok()) return next.status();
    offset = *next;
    if (offset >= end) break;
    auto one = PlanCluster(offset);
    if (!one.ok()) return one.status();
    if (one->kind != ClusterKind::kAbsent) plan->push_back(*one);
  }
  return absl::OkStatus();
}

absl::Status ChainSource::ReadCluster(const ClusterPlan& plan,
                                      absl::Span<char> out) {
  const uint64_t offset = group_ * kGroupBytes + plan.index * kClusterBytes;
  if (plan.kind == ClusterKind::kCompressed) {
    auto found = Find(offset);
    if (!found.ok()) return found.status();
    if (found->place.bytes != out.size()) {
      return Damaged("it changed while it was read");
    }
    return images_[found->image]->ReadCompressed(found->place, out);
  }
  std::memset(out.data(), 0, out.size());
  const uint64_t end = std::min(offset + out.size(), size_bytes());
  for (uint64_t at = offset; at < end;) {
    auto found = Find(at);
    if (!found.ok()) return found.status();
    const uint64_t length = std::min(found->place.length, end - at);
    if (length == 0) return Damaged("it changed while it was read");
    if (found->image < images_.size()) {
      absl::Status read = images_[found->image]->Read(
          found->place, at, out.subspan(at - offset, length));
      if (!read.ok()) return read;
    }
    at += length;
  }
  return absl::OkStatus();
}

}  // namespace ramvol::qcow2
