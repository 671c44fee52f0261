#include "server/saves/saved_image.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/reason.h"
#include "qcow2/image_digest.h"
#include "server/archive/cluster_codec.h"

namespace ramvol::saves {
namespace {

using qcow2::ClusterEntry;
using qcow2::ClusterKind;
using qcow2::kClusterBytes;
using qcow2::kTableEntries;

// Fills `out`, or the image is damaged.
absl::Status ReadAll(const OldFile& file, uint64_t offset,
                     absl::Span<char> out) {
  const auto got = file.ReadAt(offset, out);
  if (!got.ok()) return got.status();
  if (*got == out.size()) return absl::OkStatus();
  return qcow2::Damaged(
      absl::StrCat("it ends before offset ", offset + out.size()));
}

absl::StatusOr<uint64_t> ReadBig64(const OldFile& file, uint64_t offset) {
  char bytes[8];
  absl::Status status = ReadAll(file, offset, absl::MakeSpan(bytes));
  if (!status.ok()) return status;
  return qcow2::LoadBig64(bytes);
}

ClusterEntry EntryAt(const char* bytes) {
  return qcow2::ParseEntry(qcow2::LoadBig64(bytes), 3, qcow2::kClusterBits);
}

// Checks the header and the L1 table.
absl::Status CheckFront(const OldFile& file, const qcow2::Header& header,
                        const qcow2::Trailer& trailer) {
  if (!trailer.has_front) {
    return header.origin->has_sums ? qcow2::Damaged("its end lacks a checksum")
                                   : absl::OkStatus();
  }
  // The table comes right behind the header.
  const uint64_t clusters =
      1 + (header.l1_entries * 8 + kClusterBytes - 1) / kClusterBytes;
  qcow2::ImageDigest digest;
  std::string part(kClusterBytes, '\0');
  for (uint64_t i = 0; i < clusters; ++i) {
    absl::Status status =
        ReadAll(file, i * kClusterBytes, absl::MakeSpan(part));
    if (!status.ok()) return status;
    digest.Add(part);
  }
  return digest.Get() == trailer.front
             ? absl::OkStatus()
             : qcow2::Damaged(
                   "its header or its first table is not what was "
                   "saved");
}

}  // namespace

absl::Status CheckHeader(const state::v1::SavedRoot& root,
                         const qcow2::Header& header) {
  const bool right = header.origin.has_value() &&
                     header.origin->id == root.image_id() &&
                     header.exact_size_bytes() ==
                         static_cast<uint64_t>(root.settings().size_bytes()) &&
                     header.backing_file.empty() == (root.backing() == 0);
  return right ? absl::OkStatus()
               : qcow2::Damaged("it is another image than was saved");
}

absl::Status CheckTrailer(const state::v1::SavedRoot& root,
                          const qcow2::Trailer& trailer) {
  return trailer.has_digest && trailer.digest == root.digest()
             ? absl::OkStatus()
             : qcow2::Damaged("its end is not what was saved");
}

absl::StatusOr<SavedImage> SavedImage::Open(const Directory& dir,
                                            const state::v1::SavedRoot& root) {
  const auto file = dir.OpenFile(root.file());
  if (!file.ok()) return file.status();
  std::string head(qcow2::kHeadBytes, '\0');
  const auto length = file->ReadAt(0, absl::MakeSpan(head));
  if (!length.ok()) return length.status();
  head.resize(*length);
  const auto header = qcow2::ParseHeader(head);
  if (!header.ok()) return header.status();
  if (!header->as_written || header->cluster_bits != qcow2::kClusterBits) {
    return qcow2::Damaged("it is not as it was written");
  }
  absl::Status status = CheckHeader(root, *header);
  if (!status.ok()) return status;
  std::string end(qcow2::kTrailerBytes, '\0');
  status = ReadAll(*file, header->origin->trailer_offset, absl::MakeSpan(end));
  if (!status.ok()) return status;
  const auto trailer = qcow2::ParseTrailer(end);
  if (!trailer.has_value()) return qcow2::Damaged("it has no end");
  status = CheckTrailer(root, *trailer);
  if (status.ok()) status = CheckFront(*file, *header, *trailer);
  if (!status.ok()) return status;
  SavedImage image;
  image.file_ = root.file();
  image.size_bytes_ = header->size_bytes;
  image.l1_offset_ = header->l1_offset;
  image.l1_entries_ = header->l1_entries;
  image.has_sums_ = header->origin->has_sums;
  return image;
}

absl::StatusOr<qcow2::SumPlaces> SavedImage::ReadTable(
    const OldFile& file, uint64_t group, uint64_t offset, uint64_t index,
    std::string* table) const {
  if (offset == 0) return qcow2::Damaged("a table is not there any more");
  table->resize(kClusterBytes);
  absl::Status status = ReadAll(file, offset, absl::MakeSpan(*table));
  if (!status.ok()) return status;
  if (!has_sums_) return qcow2::SumPlaces();
  const auto places = qcow2::PlacesOfSums(offset, *table, index);
  const auto sum = ReadBig64(file, places.table);
  if (!sum.ok()) return sum.status();
  if (*sum == qcow2::TableSum(*table)) return places;
  return qcow2::Damaged(absl::StrCat("the table of what is at offset ",
                                     group * qcow2::kGroupBytes,
                                     " of its disk is not what was saved"));
}

absl::Status SavedImage::ForEachCluster(const Directory& dir,
                                        Visit visit) const {
  const auto file = dir.OpenFile(file_);
  if (!file.ok()) return file.status();
  const uint64_t clusters = (size_bytes_ + kClusterBytes - 1) / kClusterBytes;
  std::vector<char> l1(std::min(l1_entries_, kTableEntries) * 8);
  std::string table;
  for (uint64_t group = 0; group < l1_entries_; ++group) {
    const uint64_t in_part = group % kTableEntries;
    if (in_part == 0) {
      l1.resize(std::min(l1_entries_ - group, kTableEntries) * 8);
      absl::Status status =
          ReadAll(*file, l1_offset_ + 8 * group, absl::MakeSpan(l1));
      if (!status.ok()) return status;
    }
    const uint64_t offset =
        qcow2::TableOffset(qcow2::LoadBig64(&l1[8 * in_part]));
    if (offset == 0) continue;
    absl::Status status =
        ReadTable(*file, group, offset, /*index=*/0, &table).status();
    for (uint64_t i = 0; status.ok() && i < kTableEntries; ++i) {
      const ClusterEntry entry = EntryAt(&table[8 * i]);
      const uint64_t cluster = group * kTableEntries + i;
      if (entry.kind == ClusterKind::kAbsent) continue;
      if (cluster >= clusters) {
        return qcow2::Damaged("it holds data past its end");
      }
      const bool raw = entry.kind == ClusterKind::kRaw;
      status = visit(cluster, entry.kind, raw ? kClusterBytes : entry.bytes);
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint64_t>> SavedImage::ReadSums(
    const Directory& dir, uint64_t group) const {
  std::vector<uint64_t> sums;
  if (!has_sums_) return sums;
  const auto file = dir.OpenFile(file_);
  if (!file.ok()) return file.status();
  const auto offset = ReadBig64(*file, l1_offset_ + 8 * group);
  if (!offset.ok()) return offset.status();
  std::string table;
  // One after the other, as far as there are clusters.
  const auto places = ReadTable(*file, group, qcow2::TableOffset(*offset),
                                kTableEntries, &table);
  if (!places.ok()) return places.status();
  const uint64_t first = places->table + qcow2::kSumBytes;
  std::string packed(places->cluster - first, '\0');
  absl::Status status = ReadAll(*file, first, absl::MakeSpan(packed));
  if (!status.ok()) return status;
  sums.resize(kTableEntries);
  const char* next = packed.data();
  for (uint64_t i = 0; i < kTableEntries; ++i) {
    const ClusterKind kind = EntryAt(&table[8 * i]).kind;
    if (kind != ClusterKind::kRaw && kind != ClusterKind::kCompressed) continue;
    sums[i] = qcow2::LoadBig64(next);
    next += qcow2::kSumBytes;
  }
  return sums;
}

absl::Status SavedImage::ReadChunk(const Directory& dir, uint64_t cluster,
                                   engine::EncodedChunk* chunk) const {
  const uint64_t group = cluster / kTableEntries;
  const uint64_t index = cluster % kTableEntries;
  if (group >= l1_entries_) return qcow2::Damaged("its table is too short");
  const auto file = dir.OpenFile(file_);
  if (!file.ok()) return file.status();
  const auto offset = ReadBig64(*file, l1_offset_ + 8 * group);
  if (!offset.ok()) return offset.status();
  std::string table;
  const auto places =
      ReadTable(*file, group, qcow2::TableOffset(*offset), index, &table);
  if (!places.ok()) return places.status();
  const ClusterEntry entry = EntryAt(&table[8 * index]);
  const bool raw = entry.kind == ClusterKind::kRaw;
  if (!raw && entry.kind != ClusterKind::kCompressed) {
    return qcow2::Damaged("a cluster is not in its table any more");
  }
  std::string content(raw ? kClusterBytes : entry.bytes, '\0');
  const auto got = file->ReadAt(entry.offset, absl::MakeSpan(content));
  if (!got.ok()) return got.status();
  bool as_saved = true;
  if (has_sums_) {
    const auto sum = ReadBig64(*file, places->cluster);
    if (!sum.ok()) return sum.status();
    as_saved = qcow2::IsClusterSum(*sum, content);
  }
  chunk->chunk = cluster;
  chunk->settled = true;
  if (as_saved &&
      archive::ReadCluster(entry.kind, content, /*own=*/true, chunk)) {
    return absl::OkStatus();
  }
  return qcow2::Damaged(absl::StrCat("the cluster at offset ",
                                     cluster * kClusterBytes,
                                     " of its disk is not what was saved"));
}

}  // namespace ramvol::saves
