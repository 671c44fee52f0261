#include "qcow2/stream_reader.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/reason.h"

namespace ramvol::qcow2 {
namespace {

absl::Status NotAsWritten() {
  return WithReason(
      absl::FailedPreconditionError(
          "the image is not as ramvol wrote it, so it cannot be read from its "
          "beginning to its end; restore it from a file"),
      reason::kForeignImage);
}

}  // namespace

absl::Status StreamReader::Feed(std::string_view bytes) {
  while (!bytes.empty()) {
    if (skip_ > 0) {
      const uint64_t skipped = std::min<uint64_t>(skip_, bytes.size());
      digest_.Add(bytes.substr(0, skipped));
      bytes.remove_prefix(skipped);
      skip_ -= skipped;
      position_ += skipped;
      continue;
    }
    const uint64_t taken =
        std::min<uint64_t>(wanted_ - part_.size(), bytes.size());
    part_.append(bytes.data(), taken);
    if (want_ != Want::kTrailer) digest_.Add(bytes.substr(0, taken));
    bytes.remove_prefix(taken);
    position_ += taken;
    if (part_.size() < wanted_) continue;
    std::string part;
    part.swap(part_);
    absl::Status status = Take({part.data(), part.size()});
    if (!status.ok()) return status;
    // Its memory serves the next one.
    part.clear();
    part_.swap(part);
  }
  return absl::OkStatus();
}

absl::Status StreamReader::Finish() const {
  if (any_ && want_ == Want::kHead && part_.empty()) return absl::OkStatus();
  return Damaged(absl::StrCat("it ends after ", position_, " bytes"));
}

absl::Status StreamReader::Expect(Want want, uint64_t offset, uint64_t bytes) {
  if (offset < position_) {
    return Damaged(absl::StrCat("what belongs behind offset ", position_,
                                " is at ", offset));
  }
  want_ = want;
  wanted_ = bytes;
  skip_ = offset - position_;
  return absl::OkStatus();
}

absl::Status StreamReader::Take(absl::Span<char> part) {
  const std::string_view bytes(part.data(), part.size());
  switch (want_) {
    case Want::kHead:
      return TakeHead(bytes);
    case Want::kL1:
      return TakeL1(bytes);
    case Want::kTable:
      return TakeTable(bytes);
    case Want::kCluster:
      return TakeCluster(part);
    case Want::kTrailer:
      break;
  }
  const auto trailer = ParseTrailer(bytes);
  if (!trailer.has_value()) return Damaged("it has no end");
  if (trailer->has_digest && trailer->digest != digest_.Get()) {
    return Damaged(
        "it is not what was saved (the checksum over all of it differs)");
  }
  absl::Status status = sink_.OnTrailer(*trailer);
  Reset();
  return status;
}

void StreamReader::Reset() {
  any_ = true;
  want_ = Want::kHead;
  wanted_ = kHeadBytes;
  position_ = skip_ = l1_done_ = 0;
  tables_.clear();
  clusters_.clear();
  table_ = cluster_ = 0;
  digest_.Reset();
}

absl::Status StreamReader::TakeHead(std::string_view head) {
  auto header = ParseHeader(head);
  if (!header.ok()) return header.status();
  header_ = *std::move(header);
  if (!header_.as_written) return NotAsWritten();
  absl::Status status = sink_.OnHeader(header_);
  return status.ok() ? ExpectL1() : status;
}

absl::Status StreamReader::ExpectL1() {
  const uint64_t left = header_.l1_entries - l1_done_;
  if (left == 0) return ExpectNext();
  return Expect(Want::kL1, header_.l1_offset + 8 * l1_done_,
                8 * std::min(left, kTableEntries));
}

absl::Status StreamReader::TakeL1(std::string_view entries) {
  const uint64_t groups = (header_.size_bytes + kGroupBytes - 1) / kGroupBytes;
  for (size_t at = 0; at < entries.size(); at += 8, ++l1_done_) {
    const uint64_t offset = TableOffset(LoadBig64(entries.data() + at));
    if (offset == 0) continue;
    if (l1_done_ >= groups) return Damaged("it holds data past its end");
    if (tables_.size() == kMaxGroups) return TooManyGroups();
    tables_.push_back({l1_done_, offset});
  }
  return ExpectL1();
}

absl::Status StreamReader::TakeTable(std::string_view table) {
  const uint64_t group = tables_[table_++].group;
  absl::Status status;
  clusters_.clear();
  cluster_ = 0;
  for (uint64_t i = 0; status.ok() && i < kTableEntries; ++i) {
    const ClusterEntry entry =
        ParseEntry(LoadBig64(table.data() + 8 * i), 3, kClusterBits);
    const uint64_t number = group * kTableEntries + i;
    if (entry.kind == ClusterKind::kAbsent) continue;
    if (number * kClusterBytes >= header_.size_bytes) {
      return Damaged("it holds data past its end");
    }
    if (entry.kind == ClusterKind::kZeroes) {
      status = sink_.OnCluster(number, entry.kind, {});
    } else {
      clusters_.push_back({number, entry});
    }
  }
  if (!status.ok()) return status;
  std::sort(clusters_.begin(), clusters_.end(),
            [](const Cluster& a, const Cluster& b) {
              return a.entry.offset < b.entry.offset;
            });
  return ExpectNext();
}

absl::Status StreamReader::ExpectNext() {
  if (cluster_ < clusters_.size()) {
    const ClusterEntry& entry = clusters_[cluster_].entry;
    uint64_t bytes = kClusterBytes;
    if (entry.kind == ClusterKind::kCompressed) {
      // Its last sector is also the next one's first.
      bytes = entry.bytes;
      if (cluster_ + 1 < clusters_.size()) {
        bytes = std::min(bytes,
                         clusters_[cluster_ + 1].entry.offset - entry.offset);
      }
    }
    if (bytes == 0) return Damaged("two clusters are at one place");
    return Expect(Want::kCluster, entry.offset, bytes);
  }
  if (table_ < tables_.size()) {
    return Expect(Want::kTable, tables_[table_].offset, kClusterBytes);
  }
  return Expect(Want::kTrailer, header_.origin->trailer_offset, kTrailerBytes);
}

absl::Status StreamReader::TakeCluster(absl::Span<char> bytes) {
  const Cluster& cluster = clusters_[cluster_++];
  absl::Status status =
      sink_.OnCluster(cluster.number, cluster.entry.kind, bytes);
  return status.ok() ? ExpectNext() : status;
}

}  // namespace ramvol::qcow2
