// Which bytes of a snapshot hold something, or have changed since another one.
#ifndef RAMVOL_CSI_SNAPSHOT_BLOCKS_H_
#define RAMVOL_CSI_SNAPSHOT_BLOCKS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "csi/volumes.h"

namespace ramvol::csi_driver {

struct ByteRange {
  int64_t offset = 0;
  int64_t length = 0;

  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

// Goes over a snapshot from an offset to its end. Holds the answer for a part
// of it at a time, so its memory is bounded. Not thread-safe.
class SnapshotBlocks {
 public:
  // Of the snapshot with this handle. NOT_FOUND: there is none. OUT_OF_RANGE:
  // `offset` is negative or past the end.
  static absl::StatusOr<SnapshotBlocks> Allocated(const Volumes& volumes,
                                                  const std::string& snapshot,
                                                  int64_t offset);
  // Of `target`, what may differ from `base`, see above for NOT_FOUND and
  // OUT_OF_RANGE. INVALID_ARGUMENT: they are of different volumes.
  static absl::StatusOr<SnapshotBlocks> Changed(const Volumes& volumes,
                                                const std::string& base,
                                                const std::string& target,
                                                int64_t offset);

  // Of the snapshot.
  int64_t size_bytes() const { return end_; }

  // The next range, beginning and ending with whole blocks of 4 KiB but at the
  // snapshot's end; nullopt after the last one. The first may begin before the
  // offset that was asked for, but ends after it. Ranges do not touch each
  // other.
  absl::StatusOr<std::optional<ByteRange>> Next();

 private:
  // The ranges of a part of the snapshot.
  using Ask =
      std::function<absl::StatusOr<std::vector<ByteRange>>(const ByteRange&)>;

  SnapshotBlocks(Ask ask, int64_t offset, int64_t end);
  static absl::StatusOr<SnapshotBlocks> Make(Ask ask, int64_t offset,
                                             int64_t end);
  absl::Status Fill();

  Ask ask_;
  // What is not asked for yet, and how much of it at once.
  int64_t offset_;
  int64_t end_;
  int64_t window_;
  std::vector<ByteRange> ranges_;
  size_t next_ = 0;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_SNAPSHOT_BLOCKS_H_
