// The parts of the qcow2 format that images are read and written by, as QEMU's
// docs/interop/qcow2 defines it. Numbers in images are big-endian.
#ifndef RAMVOL_QCOW2_FORMAT_H_
#define RAMVOL_QCOW2_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ramvol::qcow2 {

// Of the images that are written: a cluster is a chunk of a volume.
inline constexpr int kClusterBits = 16;
inline constexpr uint64_t kClusterBytes = uint64_t{1} << kClusterBits;
// A *group* is what one L2 table maps: 512 MiB of the disk.
inline constexpr uint64_t kTableEntries = kClusterBytes / 8;
inline constexpr uint64_t kGroupBytes = kTableEntries * kClusterBytes;
// QEMU opens no image with a larger L1 table.
inline constexpr uint64_t kMaxL1Bytes = uint64_t{32} << 20;
// The largest disk that clusters of kClusterBytes can have: 2 PiB.
inline constexpr uint64_t kMaxSizeBytes = kMaxL1Bytes / 8 * kGroupBytes;
// Most groups that have anything, of images that are read or written in order:
// 512 TiB. It bounds memory.
inline constexpr size_t kMaxGroups = size_t{1} << 20;
inline constexpr int kMinClusterBits = 9;
inline constexpr int kMaxClusterBits = 21;
inline constexpr uint64_t kSectorBytes = 512;
inline constexpr size_t kMaxBackingFileBytes = 1023;

inline constexpr std::string_view kMagic = "QFI\xfb";
// What a reader has to see of a file to know its header.
inline constexpr size_t kHeadBytes = kClusterBytes;

enum Incompatible : uint64_t {
  kDirty = 1 << 0,  // Reference counts may be wrong, which no reader minds.
  kCorrupt = 1 << 1,
  kExternalData = 1 << 2,
  kCompressionType = 1 << 3,
  kExtendedL2 = 1 << 4,
};
// In autoclear_features: the image is as StreamWriter left it. Whoever does not
// know the bit clears it before changing the image.
inline constexpr uint64_t kAsWritten = uint64_t{1} << 62;

enum class Compression : uint8_t { kZlib = 0, kZstd = 1 };

// What only images of ramvol have, in a header extension of their own.
struct Origin {
  // The exact size; the header has it in whole sectors.
  uint64_t size_bytes = 0;
  // The uid of the snapshot that the image has the content of, and of the one
  // that it has the changes since; 0: none.
  uint64_t id = 0;
  uint64_t parent = 0;
  uint64_t trailer_offset = 0;
  // It has cluster_sums.h.
  bool has_sums = false;
  // A message of the server.
  std::string settings;
};

struct Header {
  int version = 3;
  int cluster_bits = kClusterBits;
  uint64_t size_bytes = 0;
  uint64_t l1_entries = 0;
  uint64_t l1_offset = 0;
  Compression compression = Compression::kZlib;
  bool as_written = false;
  std::string backing_file;  // "": none.
  std::string backing_format;
  std::optional<Origin> origin;

  uint64_t cluster_bytes() const { return uint64_t{1} << cluster_bits; }
  // origin's, if it still fits.
  uint64_t exact_size_bytes() const;
};

bool IsQcow2(std::string_view head);

// Parses the beginning of an image, kHeadBytes or all of a shorter file.
// INVALID_ARGUMENT, reason DAMAGED_IMAGE, for what cannot be;
// FAILED_PRECONDITION, reason FOREIGN_IMAGE, for what is not supported:
// encryption, external data files, extended L2 entries, unknown features.
absl::StatusOr<Header> ParseHeader(std::string_view head);

struct RefcountTable {
  uint64_t offset = 0;
  uint32_t clusters = 0;
};
// The first cluster of an image with clusters of kClusterBytes, compression
// zstd and header.origin. INVALID_ARGUMENT when names or settings are too long.
absl::StatusOr<std::string> EncodeHead(const Header& header,
                                       const RefcountTable& refcounts);

// An entry of an L2 table.
enum class ClusterKind : uint8_t { kAbsent, kZeroes, kRaw, kCompressed };
struct ClusterEntry {
  ClusterKind kind = ClusterKind::kAbsent;
  uint64_t offset = 0;  // In the file.
  // Of kCompressed: all that its sectors hold, of which the end is not its.
  uint32_t bytes = 0;
};
ClusterEntry ParseEntry(uint64_t entry, int version, int cluster_bits);
uint64_t EncodeEntry(const ClusterEntry& entry);

// The offset of a table in an L1 entry; 0: none.
uint64_t TableOffset(uint64_t l1_entry);
// The entry of a table or a raw cluster to which nothing else refers.
uint64_t EncodeOffset(uint64_t offset);

uint64_t LoadBig64(const char* from);
uint32_t LoadBig32(const char* from);
void StoreBig64(uint64_t value, char* to);
void StoreBig16(uint16_t value, char* to);

// INVALID_ARGUMENT, reason DAMAGED_IMAGE.
absl::Status Damaged(std::string_view what);
// FAILED_PRECONDITION, reason TOO_LARGE_IMAGE: more than kMaxGroups.
absl::Status TooManyGroups();

}  // namespace ramvol::qcow2

#endif  // RAMVOL_QCOW2_FORMAT_H_
