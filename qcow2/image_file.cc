#include "qcow2/image_file.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "qcow2/zstd_frames.h"

namespace ramvol::qcow2 {
namespace {

// qcow2's deflate streams have no header, and a window of 4 KiB.
constexpr int kDeflateWindowBits = -12;

bool InflateAll(absl::Span<char> in, absl::Span<char> out) {
  z_stream stream = {};
  if (inflateInit2(&stream, kDeflateWindowBits) != Z_OK) return false;
  stream.next_in = reinterpret_cast<Bytef*>(in.data());
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = inflate(&stream, Z_FINISH);
  const bool full = stream.avail_out == 0;
  inflateEnd(&stream);
  // What follows the stream's end in its last sector does not matter.
  return full && (result == Z_STREAM_END || result == Z_BUF_ERROR);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ImageFile>> ImageFile::Open(
    std::unique_ptr<RandomReader> file) {
  std::string head(kHeadBytes, '\0');
  auto length = file->ReadAt(0, {head.data(), head.size()});
  if (!length.ok()) return length.status();
  head.resize(*length);
  auto header = ParseHeader(head);
  if (!header.ok()) return header.status();
  std::unique_ptr<ImageFile> image(new ImageFile(std::move(file)));
  image->size_bytes_ = header->exact_size_bytes();
  image->header_ = *std::move(header);
  absl::Status loaded = image->LoadL1();
  if (!loaded.ok()) return loaded;
  return image;
}

std::unique_ptr<ImageFile> ImageFile::OpenRaw(
    std::unique_ptr<RandomReader> file) {
  std::unique_ptr<ImageFile> image(new ImageFile(std::move(file)));
  image->size_bytes_ = image->file_->size_bytes();
  return image;
}

absl::Status ImageFile::ReadFully(uint64_t offset, absl::Span<char> out) {
  const uint64_t size = file_->size_bytes();
  if (offset > size || out.size() > size - offset) {
    return Damaged(absl::StrCat("it has ", size, " bytes, and refers to ",
                                out.size(), " at offset ", offset));
  }
  auto read = file_->ReadAt(offset, out);
  if (!read.ok()) return read.status();
  if (*read == out.size()) return absl::OkStatus();
  return Damaged(
      absl::StrCat("it became shorter than ", offset + out.size(), " bytes"));
}

absl::Status ImageFile::LoadL1() {
  const uint64_t cluster = header_->cluster_bytes();
  const uint64_t per_table = cluster / 8 * cluster;
  const uint64_t groups =
      size_bytes_ / per_table + (size_bytes_ % per_table != 0 ? 1 : 0);
  std::vector<char> bytes(groups * 8);
  absl::Status status = ReadFully(header_->l1_offset, absl::MakeSpan(bytes));
  if (!status.ok()) return status;
  uint64_t tables = 0;
  for (size_t i = 0; i < groups; ++i) {
    l1_.push_back(TableOffset(LoadBig64(&bytes[8 * i])));
    if (l1_.back() != 0) ++tables;
  }
  // Else some are used twice, and to read all could take for ever.
  if (tables > file_->size_bytes() / cluster) {
    return Damaged(absl::StrCat("it has ", tables, " L2 tables in ",
                                file_->size_bytes(), " bytes"));
  }
  return absl::OkStatus();
}

absl::Status ImageFile::LoadTable(uint64_t group) {
  if (table_group_ == group) return absl::OkStatus();
  const uint64_t cluster = header_->cluster_bytes();
  if (l1_[group] % cluster != 0) {
    return Damaged(absl::StrCat("an L2 table is at offset ", l1_[group]));
  }
  table_group_.reset();
  table_.resize(cluster);
  absl::Status status = ReadFully(l1_[group], absl::MakeSpan(table_));
  if (status.ok()) table_group_ = group;
  return status;
}

absl::StatusOr<Place> ImageFile::Find(uint64_t offset) {
  if (!header_.has_value()) {
    return Place{ClusterKind::kRaw, offset, 0, size_bytes_ - offset};
  }
  const uint64_t cluster = header_->cluster_bytes();
  const uint64_t entries = cluster / 8;
  const uint64_t in_cluster = offset % cluster;
  const uint64_t number = offset / cluster;
  Place place{.length = std::min(cluster - in_cluster, size_bytes_ - offset)};
  if (l1_[number / entries] == 0) {
    const uint64_t next = (number / entries + 1) * entries * cluster;
    place.length = std::min(next, size_bytes_) - offset;
    return place;
  }
  absl::Status loaded = LoadTable(number / entries);
  if (!loaded.ok()) return loaded;
  const ClusterEntry entry =
      ParseEntry(LoadBig64(&table_[number % entries * 8]), header_->version,
                 header_->cluster_bits);
  place.kind = entry.kind;
  place.offset = entry.offset;
  place.bytes = entry.bytes;
  if (entry.kind == ClusterKind::kRaw) {
    if (entry.offset % cluster != 0) {
      return Damaged(absl::StrCat("a cluster is at offset ", entry.offset));
    }
    place.offset += in_cluster;
  }
  return place;
}

absl::StatusOr<uint64_t> ImageFile::NextMaybe(uint64_t offset) {
  if (offset >= size_bytes_) return size_bytes_;
  if (!header_.has_value()) return file_->NextData(offset);
  const uint64_t per_table =
      header_->cluster_bytes() / 8 * header_->cluster_bytes();
  for (uint64_t group = offset / per_table; group < l1_.size(); ++group) {
    if (l1_[group] != 0) return std::max(offset, group * per_table);
  }
  return size_bytes_;
}

absl::Status ImageFile::ReadCompressed(const Place& place,
                                       absl::Span<char> out) {
  const uint64_t size = file_->size_bytes();
  if (place.offset >= size) {
    return Damaged(absl::StrCat("a cluster is at offset ", place.offset,
                                ", behind its end"));
  }
  auto read = file_->ReadAt(place.offset, out);
  if (!read.ok()) return read.status();
  std::memset(out.data() + *read, 0, out.size() - *read);
  return absl::OkStatus();
}

absl::Status ImageFile::Inflate(const Place& place) {
  if (inflated_ == place.offset) return absl::OkStatus();
  inflated_.reset();
  compressed_.resize(place.bytes);
  content_.resize(header_->cluster_bytes());
  absl::Status status = ReadCompressed(place, absl::MakeSpan(compressed_));
  if (!status.ok()) return status;
  const bool good =
      header_->compression == Compression::kZstd
          ? Decompress({compressed_.data(), compressed_.size()},
                       absl::MakeSpan(content_))
          : InflateAll(absl::MakeSpan(compressed_), absl::MakeSpan(content_));
  if (!good) {
    return Damaged(absl::StrCat("the cluster at offset ", place.offset,
                                " of the file does not decompress"));
  }
  inflated_ = place.offset;
  return absl::OkStatus();
}

absl::Status ImageFile::Read(const Place& place, uint64_t offset,
                             absl::Span<char> out) {
  switch (place.kind) {
    case ClusterKind::kAbsent:
    case ClusterKind::kZeroes:
      std::memset(out.data(), 0, out.size());
      return absl::OkStatus();
    case ClusterKind::kRaw: {
      const uint64_t size = file_->size_bytes();
      if (place.offset >= size) {
        return Damaged(absl::StrCat("a cluster is at offset ", place.offset,
                                    ", behind its end"));
      }
      // The last one need not be there as a whole.
      auto read = file_->ReadAt(place.offset, out);
      if (!read.ok()) return read.status();
      std::memset(out.data() + *read, 0, out.size() - *read);
      return absl::OkStatus();
    }
    case ClusterKind::kCompressed:
      break;
  }
  absl::Status status = Inflate(place);
  if (!status.ok()) return status;
  std::memcpy(out.data(), content_.data() + offset % header_->cluster_bytes(),
              out.size());
  return absl::OkStatus();
}

}  // namespace ramvol::qcow2
