#include "qcow2/format.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/reason.h"

namespace ramvol::qcow2 {
namespace {

constexpr uint64_t kCopiedFlag = uint64_t{1} << 63;
constexpr uint64_t kCompressedFlag = uint64_t{1} << 62;
constexpr uint64_t kOffsetBits = 0x00fffffffffffe00;
constexpr size_t kHeader2Bytes = 72;
constexpr size_t kHeader3Bytes = 104;
constexpr size_t kOurHeaderBytes = 112;
constexpr uint32_t kMaxHeaderLength = 4096;
constexpr uint64_t kSupported = kDirty | kCorrupt | kCompressionType;

constexpr uint32_t kEndOfExtensions = 0;
constexpr uint32_t kBackingFormat = 0xe2792aca;
constexpr uint32_t kOriginExtension = 0x52414d56;  // "RAMV"
constexpr uint32_t kOriginVersion = 1;
constexpr size_t kOriginBytes = 40;
// Flags of an origin. Earlier versions wrote none, and pass over them.
constexpr uint32_t kHasSums = 1;

std::string Big(uint64_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) {
    text.push_back(static_cast<char>(value >> (8 * i)));
  }
  return text;
}

absl::Status Foreign(std::string_view what) {
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat(
          "the image ", absl::string_view(what.data(), what.size()),
          "; \"qemu-img convert -O qcow2\" makes one without that")),
      reason::kForeignImage);
}

// Reads numbers one after the other; 0 past the end.
class Numbers {
 public:
  explicit Numbers(std::string_view bytes) : bytes_(bytes) {}

  uint32_t Next32() {
    const uint32_t value =
        at_ + 4 <= bytes_.size() ? LoadBig32(bytes_.data() + at_) : 0;
    at_ += 4;
    return value;
  }
  uint64_t Next64() {
    const uint64_t value =
        at_ + 8 <= bytes_.size() ? LoadBig64(bytes_.data() + at_) : 0;
    at_ += 8;
    return value;
  }
  size_t at() const { return at_; }

 private:
  const std::string_view bytes_;
  size_t at_ = 0;
};

std::optional<Origin> ParseOrigin(std::string_view data) {
  Numbers numbers(data);
  if (data.size() < kOriginBytes || numbers.Next32() != kOriginVersion) {
    return std::nullopt;
  }
  Origin origin;
  origin.has_sums = (numbers.Next32() & kHasSums) != 0;
  origin.size_bytes = numbers.Next64();
  origin.id = numbers.Next64();
  origin.parent = numbers.Next64();
  origin.trailer_offset = numbers.Next64();
  origin.settings = std::string(data.substr(kOriginBytes));
  return origin;
}

absl::Status ParseExtensions(std::string_view head, size_t at, size_t end,
                             Header* header) {
  while (at + 8 <= end) {
    const uint32_t type = LoadBig32(head.data() + at);
    const uint32_t length = LoadBig32(head.data() + at + 4);
    at += 8;
    if (type == kEndOfExtensions) break;
    if (length > end - at) return Damaged("a header extension has no end");
    const std::string_view data = head.substr(at, length);
    if (type == kBackingFormat) header->backing_format = std::string(data);
    if (type == kOriginExtension) header->origin = ParseOrigin(data);
    at += (uint64_t{length} + 7) / 8 * 8;
  }
  return absl::OkStatus();
}

absl::Status CheckFeatures(uint64_t incompatible) {
  if ((incompatible & kCorrupt) != 0) {
    return Damaged("it is marked corrupt; \"qemu-img check -r all\" may help");
  }
  if ((incompatible & kExternalData) != 0) {
    return Foreign("keeps its data in another file");
  }
  if ((incompatible & kExtendedL2) != 0) {
    return Foreign("has extended L2 entries");
  }
  if ((incompatible & ~kSupported) != 0) {
    return Foreign(absl::StrCat("has unknown features (",
                                absl::Hex(incompatible & ~kSupported), ")"));
  }
  return absl::OkStatus();
}

absl::Status CheckSizes(const Header& header) {
  if (header.cluster_bits < kMinClusterBits ||
      header.cluster_bits > kMaxClusterBits) {
    return Damaged(
        absl::StrCat("it has clusters of 2^", header.cluster_bits, " bytes"));
  }
  const uint64_t table_bytes = header.cluster_bytes() / 8;
  const uint64_t clusters =
      header.size_bytes / header.cluster_bytes() +
      (header.size_bytes % header.cluster_bytes() != 0 ? 1 : 0);
  const uint64_t needed = (clusters + table_bytes - 1) / table_bytes;
  if (header.l1_entries < needed) {
    return Damaged(absl::StrCat("its L1 table has ", header.l1_entries,
                                " entries, and its size of ", header.size_bytes,
                                " bytes needs ", needed));
  }
  if (header.l1_entries > kMaxL1Bytes / 8) {
    return Damaged(absl::StrCat("its L1 table has ", header.l1_entries,
                                " entries, more than ", kMaxL1Bytes / 8));
  }
  if (header.l1_offset % header.cluster_bytes() != 0 ||
      (header.l1_offset == 0 && header.l1_entries > 0)) {
    return Damaged(
        absl::StrCat("its L1 table is at offset ", header.l1_offset));
  }
  return absl::OkStatus();
}

absl::Status ParseBacking(std::string_view head, uint64_t offset,
                          uint32_t length, Header* header) {
  if (offset == 0) return absl::OkStatus();
  const size_t end = std::min<uint64_t>(head.size(), header->cluster_bytes());
  if (length > kMaxBackingFileBytes || offset > end || length > end - offset) {
    return Damaged("the name of its backing file is no part of its header");
  }
  header->backing_file = std::string(head.substr(offset, length));
  return absl::OkStatus();
}

}  // namespace

uint64_t LoadBig64(const char* from) {
  return uint64_t{LoadBig32(from)} << 32 | LoadBig32(from + 4);
}

uint32_t LoadBig32(const char* from) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) {
    value = value << 8 | static_cast<uint8_t>(from[i]);
  }
  return value;
}

void StoreBig64(uint64_t value, char* to) {
  for (int i = 0; i < 8; ++i) to[i] = static_cast<char>(value >> (56 - 8 * i));
}

void StoreBig16(uint16_t value, char* to) {
  to[0] = static_cast<char>(value >> 8);
  to[1] = static_cast<char>(value);
}

absl::Status Damaged(std::string_view what) {
  return WithReason(absl::InvalidArgumentError(absl::StrCat(
                        "the image is damaged: ",
                        absl::string_view(what.data(), what.size()))),
                    reason::kDamagedImage);
}

absl::Status TooManyGroups() {
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat(
          "the disk has data in more than ", kMaxGroups,
          " of its parts of 512 MiB, too many for an image; trim some, or use "
          "several disks")),
      reason::kTooLargeImage);
}

uint64_t Header::exact_size_bytes() const {
  if (!origin.has_value() || origin->size_bytes > size_bytes ||
      size_bytes - origin->size_bytes >= kSectorBytes) {
    return size_bytes;
  }
  return origin->size_bytes;
}

bool IsQcow2(std::string_view head) {
  return head.substr(0, kMagic.size()) == kMagic;
}

absl::StatusOr<Header> ParseHeader(std::string_view head) {
  if (!IsQcow2(head)) return Damaged("it does not begin as a qcow2 image");
  if (head.size() < kHeader2Bytes) return Damaged("it ends within its header");
  Numbers numbers(head);
  numbers.Next32();
  const uint32_t version = numbers.Next32();
  if (version != 2 && version != 3) {
    return Foreign(absl::StrCat("is of version ", version, ", not 2 or 3"));
  }
  if (version == 3 && head.size() < kHeader3Bytes) {
    return Damaged("it ends within its header");
  }
  Header header;
  header.version = static_cast<int>(version);
  const uint64_t backing_offset = numbers.Next64();
  const uint32_t backing_length = numbers.Next32();
  const uint32_t cluster_bits = numbers.Next32();
  header.cluster_bits = static_cast<int>(std::min<uint32_t>(cluster_bits, 64));
  header.size_bytes = numbers.Next64();
  const uint32_t encryption = numbers.Next32();
  header.l1_entries = numbers.Next32();
  header.l1_offset = numbers.Next64();
  if (encryption != 0) return Foreign("is encrypted");
  // The refcount table and snapshots, which no reader of the disk needs.
  for (int i = 0; i < 3; ++i) numbers.Next64();
  uint64_t end_of_header = kHeader2Bytes;
  if (version == 3) {
    const uint64_t incompatible = numbers.Next64();
    numbers.Next64();
    header.as_written = (numbers.Next64() & kAsWritten) != 0;
    numbers.Next32();
    end_of_header = numbers.Next32();
    if (end_of_header < kHeader3Bytes || end_of_header > kMaxHeaderLength ||
        end_of_header > head.size()) {
      return Damaged(absl::StrCat("its header has ", end_of_header, " bytes"));
    }
    absl::Status features = CheckFeatures(incompatible);
    if (!features.ok()) return features;
    if ((incompatible & kCompressionType) != 0) {
      const auto type = static_cast<uint8_t>(
          end_of_header > kHeader3Bytes ? head[kHeader3Bytes] : 0);
      if (type > 1) {
        return Foreign(absl::StrCat("is compressed by method ", type));
      }
      header.compression = static_cast<Compression>(type);
    }
  }
  absl::Status sizes = CheckSizes(header);
  if (!sizes.ok()) return sizes;
  absl::Status backing =
      ParseBacking(head, backing_offset, backing_length, &header);
  if (!backing.ok()) return backing;
  size_t end = std::min<uint64_t>(head.size(), header.cluster_bytes());
  if (backing_offset != 0) end = std::min<size_t>(end, backing_offset);
  absl::Status extensions = ParseExtensions(head, end_of_header, end, &header);
  if (!extensions.ok()) return extensions;
  header.as_written = header.as_written && header.origin.has_value() &&
                      header.cluster_bits == kClusterBits &&
                      header.compression == Compression::kZstd;
  return header;
}

absl::StatusOr<std::string> EncodeHead(const Header& header,
                                       const RefcountTable& refcounts) {
  const Origin& origin = *header.origin;
  std::string extensions;
  const auto add = [&](uint32_t type, const std::string& data) {
    extensions += Big(type, 4) + Big(data.size(), 4) + data;
    extensions.resize((extensions.size() + 7) / 8 * 8);
  };
  if (!header.backing_format.empty()) {
    add(kBackingFormat, header.backing_format);
  }
  add(kOriginExtension, Big(kOriginVersion, 4) +
                            Big(origin.has_sums ? kHasSums : 0, 4) +
                            Big(origin.size_bytes, 8) + Big(origin.id, 8) +
                            Big(origin.parent, 8) +
                            Big(origin.trailer_offset, 8) + origin.settings);
  add(kEndOfExtensions, "");
  const uint64_t name_offset = kOurHeaderBytes + extensions.size();
  const std::string& name = header.backing_file;
  if (name.size() > kMaxBackingFileBytes ||
      name_offset + name.size() > kClusterBytes) {
    return InvalidField(
        "backing_file",
        absl::StrCat("the name of the backing file has ", name.size(),
                     " bytes, the settings ", origin.settings.size(),
                     "; an image holds names of up to ", kMaxBackingFileBytes,
                     " bytes, and 60000 bytes of both"));
  }
  std::string head =
      std::string(kMagic) + Big(3, 4) + Big(name.empty() ? 0 : name_offset, 8) +
      Big(name.size(), 4) + Big(kClusterBits, 4) + Big(header.size_bytes, 8) +
      Big(0, 4) + Big(header.l1_entries, 4) + Big(header.l1_offset, 8) +
      Big(refcounts.offset, 8) + Big(refcounts.clusters, 4) + Big(0, 4) +
      Big(0, 8) + Big(kCompressionType, 8) + Big(0, 8) +
      Big(header.as_written ? kAsWritten : 0, 8) + Big(4, 4) +
      Big(kOurHeaderBytes, 4) +
      Big(static_cast<uint64_t>(Compression::kZstd) << 56, 8) + extensions +
      name;
  head.resize(kClusterBytes);
  return head;
}

ClusterEntry ParseEntry(uint64_t entry, int version, int cluster_bits) {
  ClusterEntry parsed;
  if ((entry & kCompressedFlag) != 0) {
    const int bits = 62 - (cluster_bits - 8);
    const uint64_t mask = (uint64_t{1} << bits) - 1;
    const uint64_t sectors = (entry & ~(kCopiedFlag | kCompressedFlag)) >> bits;
    parsed.kind = ClusterKind::kCompressed;
    parsed.offset = entry & mask;
    parsed.bytes = static_cast<uint32_t>((sectors + 1) * kSectorBytes -
                                         parsed.offset % kSectorBytes);
    return parsed;
  }
  // In version 2, the bit has no meaning.
  if (version >= 3 && (entry & 1) != 0) {
    parsed.kind = ClusterKind::kZeroes;
    return parsed;
  }
  parsed.offset = entry & kOffsetBits;
  if (parsed.offset != 0) parsed.kind = ClusterKind::kRaw;
  return parsed;
}

uint64_t EncodeEntry(const ClusterEntry& entry) {
  switch (entry.kind) {
    case ClusterKind::kAbsent:
      return 0;
    case ClusterKind::kZeroes:
      return 1;
    case ClusterKind::kRaw:
      return EncodeOffset(entry.offset);
    case ClusterKind::kCompressed:
      break;
  }
  const uint64_t last = entry.offset + entry.bytes - 1;
  const uint64_t more = last / kSectorBytes - entry.offset / kSectorBytes;
  return kCompressedFlag | more << (62 - (kClusterBits - 8)) | entry.offset;
}

uint64_t TableOffset(uint64_t l1_entry) { return l1_entry & kOffsetBits; }

uint64_t EncodeOffset(uint64_t offset) { return kCopiedFlag | offset; }

}  // namespace ramvol::qcow2
