#include "server/saves/saved_image.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/reason.h"
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
  if (!status.ok()) return status;
  SavedImage image;
  image.file_ = root.file();
  image.size_bytes_ = header->size_bytes;
  image.l1_offset_ = header->l1_offset;
  image.l1_entries_ = header->l1_entries;
  return image;
}

absl::Status SavedImage::ForEachCluster(const Directory& dir,
                                        Visit visit) const {
  const auto file = dir.OpenFile(file_);
  if (!file.ok()) return file.status();
  const uint64_t clusters = (size_bytes_ + kClusterBytes - 1) / kClusterBytes;
  std::vector<char> l1(std::min(l1_entries_, kTableEntries) * 8);
  std::vector<char> table(kClusterBytes);
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
    absl::Status status = ReadAll(*file, offset, absl::MakeSpan(table));
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

absl::Status SavedImage::ReadChunk(const Directory& dir, uint64_t cluster,
                                   engine::EncodedChunk* chunk) const {
  const uint64_t group = cluster / kTableEntries;
  if (group >= l1_entries_) return qcow2::Damaged("its table is too short");
  const auto file = dir.OpenFile(file_);
  if (!file.ok()) return file.status();
  const auto table = ReadBig64(*file, l1_offset_ + 8 * group);
  if (!table.ok()) return table.status();
  char bytes[8];
  absl::Status status =
      ReadAll(*file, qcow2::TableOffset(*table) + cluster % kTableEntries * 8,
              absl::MakeSpan(bytes));
  if (!status.ok()) return status;
  const ClusterEntry entry = EntryAt(bytes);
  const bool raw = entry.kind == ClusterKind::kRaw;
  if (!raw && entry.kind != ClusterKind::kCompressed) {
    return qcow2::Damaged("a cluster is not in its table any more");
  }
  std::vector<char> content(raw ? kClusterBytes : entry.bytes);
  const auto got = file->ReadAt(entry.offset, absl::MakeSpan(content));
  if (!got.ok()) return got.status();
  chunk->chunk = cluster;
  chunk->settled = true;
  if (archive::ReadCluster(entry.kind, content, /*own=*/true, chunk)) {
    return absl::OkStatus();
  }
  return qcow2::Damaged(absl::StrCat("the cluster at offset ",
                                     cluster * kClusterBytes,
                                     " of its disk does not decompress"));
}

}  // namespace ramvol::saves
