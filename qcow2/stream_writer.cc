#include "qcow2/stream_writer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "qcow2/trailer.h"

namespace ramvol::qcow2 {
namespace {

constexpr uint64_t kCountsPerBlock = kClusterBytes / 2;

uint64_t DivideUp(uint64_t value, uint64_t by) { return (value + by - 1) / by; }

uint64_t CountOfSums(const std::vector<ClusterPlan>& plan) {
  return static_cast<uint64_t>(std::count_if(
      plan.begin(), plan.end(),
      [](const ClusterPlan& one) { return one.kind != ClusterKind::kZeroes; }));
}

}  // namespace

uint64_t StreamWriter::Layout::Add(const GroupRoom& room) {
  const uint64_t table = next;
  next += 1 + uint64_t{room.clusters};
  return table;
}

bool StreamWriter::Layout::BlockIsDue(bool at_end) const {
  return at_end ? refcount_blocks * kCountsPerBlock < next
                : (refcount_blocks + 1) * kCountsPerBlock <= next;
}

absl::StatusOr<std::unique_ptr<StreamWriter>> StreamWriter::Make(
    ClusterSource* source, Header header, bool digest) {
  if (header.origin->size_bytes > kMaxSizeBytes) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat(
            "a disk of ", header.origin->size_bytes,
            " bytes is too large for a qcow2 image, which holds up to ",
            kMaxSizeBytes, " bytes (2 PiB); shrink it first")),
        reason::kTooLargeImage);
  }
  std::unique_ptr<StreamWriter> writer(
      new StreamWriter(source, std::move(header), digest));
  absl::Status planned = writer->Plan();
  if (!planned.ok()) return planned;
  return writer;
}

absl::Status StreamWriter::Plan() {
  auto groups = source_.Survey();
  if (!groups.ok()) return groups.status();
  groups_ = *std::move(groups);
  if (groups_.size() > kMaxGroups) return TooManyGroups();
  header_.size_bytes =
      DivideUp(header_.origin->size_bytes, kSectorBytes) * kSectorBytes;
  header_.l1_entries =
      std::max<uint64_t>(1, DivideUp(header_.size_bytes, kGroupBytes));
  header_.l1_offset = kClusterBytes;
  header_.as_written = true;
  header_.origin->has_sums = true;
  l1_clusters_ = DivideUp(header_.l1_entries * 8, kClusterBytes);
  table_clusters_ = 1;
  PlaceAll();
  header_.origin->trailer_offset = file_bytes_ - kTrailerBytes;
  auto head =
      EncodeHead(header_, {.offset = (1 + l1_clusters_) * kClusterBytes,
                           .clusters = static_cast<uint32_t>(table_clusters_)});
  if (!head.ok()) return head.status();
  head_ = *std::move(head);
  layout_ = FirstLayout();
  Count(0, layout_.next * kClusterBytes);
  return absl::OkStatus();
}

StreamWriter::Layout StreamWriter::FirstLayout() const {
  return {.next = 1 + l1_clusters_ + table_clusters_};
}

// A longer refcount table moves all behind it, which may take one block more.
void StreamWriter::PlaceAll() {
  for (;;) {
    block_places_.clear();
    Layout layout = FirstLayout();
    const auto place = [&](bool at_end) {
      for (; layout.BlockIsDue(at_end); ++layout.refcount_blocks) {
        block_places_.push_back(layout.next++);
      }
    };
    for (const GroupRoom& room : groups_) {
      layout.Add(room);
      place(false);
    }
    place(true);
    file_bytes_ = layout.next * kClusterBytes + kTrailerBytes;
    const uint64_t needed = DivideUp(block_places_.size() * 8, kClusterBytes);
    if (needed <= table_clusters_) return;
    table_clusters_ = needed;
  }
}

absl::Status StreamWriter::Append(size_t want, std::string* out) {
  while (out->size() < want && !done()) {
    const size_t begin = out->size();
    const bool front = phase_ == Phase::kHead || phase_ == Phase::kL1;
    absl::Status status = Step(out);
    if (!status.ok()) return status;
    if (front) front_.Add(std::string_view(*out).substr(begin));
    if (has_digest_) digest_.Add(std::string_view(*out).substr(begin));
  }
  return absl::OkStatus();
}

absl::Status StreamWriter::Step(std::string* out) {
  switch (phase_) {
    case Phase::kHead:
      out->append(head_);
      phase_ = Phase::kL1;
      break;
    case Phase::kL1:
      AppendL1(out);
      if (++done_ < l1_clusters_) break;
      done_ = 0;
      phase_ = Phase::kRefcountTable;
      break;
    case Phase::kRefcountTable:
      AppendRefcountTable(out);
      if (++done_ < table_clusters_) break;
      layout_ = FirstLayout();
      group_ = 0;
      phase_ = Phase::kTable;
      break;
    case Phase::kTable:
      if (group_ < groups_.size()) return BeginGroup(out);
      phase_ = Phase::kEnd;
      break;
    case Phase::kData:
      return AppendData(out);
    case Phase::kEnd:
      AppendBlocks(/*at_end=*/true, out);
      phase_ = Phase::kTrailer;
      break;
    case Phase::kTrailer:
      AppendTrailer(out);
      phase_ = Phase::kDone;
      break;
    case Phase::kDone:
      break;
  }
  return absl::OkStatus();
}

void StreamWriter::AppendL1(std::string* out) {
  const size_t begin = out->size();
  out->resize(begin + kClusterBytes);
  for (uint64_t i = 0; i < kTableEntries && group_ < groups_.size(); ++i) {
    if (groups_[group_].group != done_ * kTableEntries + i) continue;
    const uint64_t table = layout_.Add(groups_[group_++]);
    StoreBig64(EncodeOffset(table * kClusterBytes), &(*out)[begin + 8 * i]);
    for (; layout_.BlockIsDue(false); ++layout_.refcount_blocks) ++layout_.next;
  }
}

void StreamWriter::AppendRefcountTable(std::string* out) {
  const size_t begin = out->size();
  out->resize(begin + kClusterBytes);
  const uint64_t first = done_ * kTableEntries;
  for (uint64_t i = 0; i < kTableEntries && first + i < block_places_.size();
       ++i) {
    StoreBig64(block_places_[first + i] * kClusterBytes,
               &(*out)[begin + 8 * i]);
  }
}

absl::Status StreamWriter::BeginGroup(std::string* out) {
  const GroupRoom& room = groups_[group_];
  const uint64_t table = layout_.next;
  absl::Status planned = source_.PlanGroup(room.group, room.clusters, &plan_);
  if (!planned.ok()) return planned;
  std::string entries(kClusterBytes, '\0');
  at_ = (table + 1) * kClusterBytes;
  uint64_t place = at_;
  uint64_t data_end = at_;
  for (const ClusterKind kind :
       {ClusterKind::kZeroes, ClusterKind::kCompressed, ClusterKind::kRaw}) {
    if (kind == ClusterKind::kRaw) {
      place = DivideUp(place, kClusterBytes) * kClusterBytes;
    }
    for (ClusterPlan& plan : plan_) {
      if (plan.kind != kind) continue;
      if (kind == ClusterKind::kRaw) plan.bytes = kClusterBytes;
      if (kind == ClusterKind::kZeroes) plan.bytes = 0;
      StoreBig64(EncodeEntry({kind, place, plan.bytes}),
                 &entries[8 * size_t{plan.index}]);
      if (plan.bytes > 0) Count(place, plan.bytes);
      place += plan.bytes;
      data_end = place;
    }
  }
  sums_are_due_ = true;
  sums_.clear();
  const uint64_t sums_end = DivideUp(data_end, kSectorBytes) * kSectorBytes +
                            kSumBytes * (1 + CountOfSums(plan_));
  if (sums_end > at_ + uint64_t{room.clusters} * kClusterBytes) {
    return absl::InternalError("a group has more data than was planned");
  }
  plan_.erase(std::remove_if(plan_.begin(), plan_.end(),
                             [](const ClusterPlan& plan) {
                               return plan.kind == ClusterKind::kZeroes;
                             }),
              plan_.end());
  // As they were placed above.
  std::sort(plan_.begin(), plan_.end(), [](const auto& a, const auto& b) {
    return std::pair(a.kind == ClusterKind::kRaw, a.index) <
           std::pair(b.kind == ClusterKind::kRaw, b.index);
  });
  Count(table * kClusterBytes, kClusterBytes);
  table_sum_ = TableSum(entries);
  out->append(entries);
  cluster_ = 0;
  phase_ = Phase::kData;
  return absl::OkStatus();
}

absl::Status StreamWriter::AppendData(std::string* out) {
  const bool more = cluster_ < plan_.size();
  const uint64_t end =
      (layout_.next + 1 + uint64_t{groups_[group_].clusters}) * kClusterBytes;
  if (!more && !sums_are_due_ && at_ == end) {
    EndGroup(out);
    return absl::OkStatus();
  }
  if (!more && std::exchange(sums_are_due_, false)) {
    AppendSums(out);
    return absl::OkStatus();
  }
  const uint64_t misaligned = at_ % kClusterBytes;
  const size_t begin = out->size();
  if (!more || (plan_[cluster_].kind == ClusterKind::kRaw && misaligned != 0)) {
    out->resize(begin + kClusterBytes - misaligned);
    at_ += kClusterBytes - misaligned;
    return absl::OkStatus();
  }
  const ClusterPlan& plan = plan_[cluster_++];
  out->resize(begin + plan.bytes);
  at_ += plan.bytes;
  absl::Status status = source_.ReadCluster(plan, {&(*out)[begin], plan.bytes});
  sums_.emplace_back(plan.index,
                     ClusterSum(std::string_view(*out).substr(begin)));
  return status;
}

void StreamWriter::AppendSums(std::string* out) {
  std::sort(sums_.begin(), sums_.end());
  const uint64_t start = DivideUp(at_, kSectorBytes) * kSectorBytes;
  out->append(start - at_, '\0');
  const auto append = [out](uint64_t sum) {
    char bytes[kSumBytes];
    StoreBig64(sum, bytes);
    out->append(bytes, kSumBytes);
  };
  append(table_sum_);
  for (const auto& [index, sum] : sums_) append(sum);
  at_ = start + kSumBytes * (1 + sums_.size());
}

void StreamWriter::EndGroup(std::string* out) {
  layout_.Add(groups_[group_++]);
  AppendBlocks(/*at_end=*/false, out);
  phase_ = Phase::kTable;
}

void StreamWriter::AppendBlocks(bool at_end, std::string* out) {
  while (layout_.BlockIsDue(at_end)) {
    Count(layout_.next * kClusterBytes, kClusterBytes);
    const size_t begin = out->size();
    out->resize(begin + kClusterBytes);
    const size_t counted = std::min<size_t>(counts_.size(), kCountsPerBlock);
    for (size_t i = 0; i < counted; ++i) {
      StoreBig16(counts_[i], &(*out)[begin + 2 * i]);
    }
    counts_.erase(counts_.begin(),
                  counts_.begin() + static_cast<std::ptrdiff_t>(counted));
    counts_begin_ += kCountsPerBlock;
    ++layout_.next;
    ++layout_.refcount_blocks;
  }
}

void StreamWriter::AppendTrailer(std::string* out) {
  out->append(EncodeTrailer({.has_digest = has_digest_,
                             .digest = has_digest_ ? digest_.Get() : 0,
                             .has_front = true,
                             .front = front_.Get()}));
}

void StreamWriter::Count(uint64_t offset, uint64_t bytes) {
  const uint64_t last = (offset + bytes - 1) / kClusterBytes;
  if (counts_.size() <= last - counts_begin_) {
    counts_.resize(last - counts_begin_ + 1);
  }
  for (uint64_t i = offset / kClusterBytes; i <= last; ++i) {
    ++counts_[i - counts_begin_];
  }
}

}  // namespace ramvol::qcow2
