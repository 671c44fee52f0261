// Reads any qcow2 or raw image in a file, and what it lies on.
#ifndef RAMVOL_QCOW2_IMAGE_FILE_H_
#define RAMVOL_QCOW2_IMAGE_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "qcow2/format.h"

namespace ramvol::qcow2 {

// Bytes at any offset. Not thread-safe.
class RandomReader {
 public:
  virtual ~RandomReader() = default;

  virtual uint64_t size_bytes() const = 0;
  // Fills `out`, or a part of it at the end. Returns how many bytes it read.
  virtual absl::StatusOr<size_t> ReadAt(uint64_t offset,
                                        absl::Span<char> out) = 0;
  // The first offset of data at or after `offset`, or size_bytes().
  virtual absl::StatusOr<uint64_t> NextData(uint64_t offset) { return offset; }
};

// Where a part of a disk is.
struct Place {
  ClusterKind kind = ClusterKind::kAbsent;
  uint64_t offset = 0;  // Of kRaw: in the file. Of kCompressed: the cluster's.
  uint32_t bytes = 0;   // Of kCompressed.
  // So many bytes from the offset that was asked for on are in the same
  // cluster.
  uint64_t length = 0;
};

// One image. Memory is bounded by its L1 table, which has at most 32 MiB, and a
// few clusters. Errors are INVALID_ARGUMENT, reason DAMAGED_IMAGE, and the
// file's.
//
// Not thread-safe.
class ImageFile {
 public:
  // A qcow2 image. Also the errors of ParseHeader.
  static absl::StatusOr<std::unique_ptr<ImageFile>> Open(
      std::unique_ptr<RandomReader> file);
  // The bytes of a disk.
  static std::unique_ptr<ImageFile> OpenRaw(std::unique_ptr<RandomReader> file);

  // nullopt for a raw one.
  const std::optional<Header>& header() const { return header_; }
  uint64_t size_bytes() const { return size_bytes_; }
  uint64_t file_bytes() const { return file_->size_bytes(); }

  // Where the byte at `offset`, which is below the size, is.
  absl::StatusOr<Place> Find(uint64_t offset);
  // The first offset at or after `offset` at which it may have something, or
  // the size.
  absl::StatusOr<uint64_t> NextMaybe(uint64_t offset);
  // Fills `out` with the bytes at `offset`, of which `place` has as many. Not
  // kAbsent.
  absl::Status Read(const Place& place, uint64_t offset, absl::Span<char> out);
  // Fills `out`, of place.bytes, with a compressed cluster as it is. Zeroes
  // follow the end of the file.
  absl::Status ReadCompressed(const Place& place, absl::Span<char> out);

 private:
  explicit ImageFile(std::unique_ptr<RandomReader> file)
      : file_(std::move(file)) {}

  absl::Status LoadL1();
  absl::Status LoadTable(uint64_t group);
  absl::Status ReadFully(uint64_t offset, absl::Span<char> out);
  absl::Status Inflate(const Place& place);

  const std::unique_ptr<RandomReader> file_;
  std::optional<Header> header_;
  uint64_t size_bytes_ = 0;
  std::vector<uint64_t> l1_;  // Offsets of tables.
  // The table, and the compressed cluster, that were used last.
  std::optional<uint64_t> table_group_;
  std::vector<char> table_;
  std::optional<uint64_t> inflated_;  // Its place's offset.
  std::vector<char> content_;
  std::vector<char> compressed_;
};

}  // namespace ramvol::qcow2

#endif  // RAMVOL_QCOW2_IMAGE_FILE_H_
