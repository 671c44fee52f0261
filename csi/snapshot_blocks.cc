#include "csi/snapshot_blocks.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/extent.h"
#include "client/remote_volume.h"
#include "csi/volumes.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {
namespace {

constexpr int64_t kBlockBytes = 4096;
// At most 131072 ranges, 2 MiB.
constexpr int64_t kWindowBytes = int64_t{1} << 30;

// What of a window without any ranges is asked for next, so that a large empty
// snapshot takes few calls.
int64_t Larger(int64_t window) {
  return window > std::numeric_limits<int64_t>::max() / 4 ? window : window * 4;
}

absl::StatusOr<RemoteVolume> Open(const Volumes& volumes,
                                  const v1::Snapshot& snapshot) {
  return volumes.client().Open("@" + snapshot.name());
}

}  // namespace

SnapshotBlocks::SnapshotBlocks(Ask ask, int64_t offset, int64_t end)
    : ask_(std::move(ask)),
      // At the end, nothing is left, even of a block that is not whole.
      offset_(offset == end ? end : offset / kBlockBytes * kBlockBytes),
      end_(end),
      window_(kWindowBytes) {}

absl::StatusOr<SnapshotBlocks> SnapshotBlocks::Make(Ask ask, int64_t offset,
                                                    int64_t end) {
  if (offset < 0 || offset > end) {
    return absl::OutOfRangeError(absl::StrCat("starting_offset is ", offset,
                                              ", and the snapshot has ", end,
                                              " bytes"));
  }
  return SnapshotBlocks(std::move(ask), offset, end);
}

absl::StatusOr<SnapshotBlocks> SnapshotBlocks::Allocated(
    const Volumes& volumes, const std::string& snapshot, int64_t offset) {
  const auto found = volumes.FindSnapshot(snapshot);
  if (!found.ok()) return found.status();
  const auto remote = Open(volumes, *found);
  if (!remote.ok()) return remote.status();
  return Make(
      [volume = *remote](
          const ByteRange& part) -> absl::StatusOr<std::vector<ByteRange>> {
        const auto extents = volume.Extents(part.offset, part.length);
        if (!extents.ok()) return extents.status();
        std::vector<ByteRange> ranges;
        for (const Extent& extent : *extents) {
          if (!extent.hole) ranges.push_back({extent.offset, extent.length});
        }
        return ranges;
      },
      offset, found->size_bytes());
}

absl::StatusOr<SnapshotBlocks> SnapshotBlocks::Changed(
    const Volumes& volumes, const std::string& base, const std::string& target,
    int64_t offset) {
  const auto since = volumes.FindSnapshot(base);
  if (!since.ok()) return since.status();
  const auto found = volumes.FindSnapshot(target);
  if (!found.ok()) return found.status();
  if (since->source_uid() != found->source_uid()) {
    return absl::InvalidArgumentError(
        absl::StrCat("snapshots \"", base, "\" and \"", target,
                     "\" are of different volumes"));
  }
  const auto remote = Open(volumes, *found);
  if (!remote.ok()) return remote.status();
  return Make(
      [volume = *remote, uid = since->uid()](
          const ByteRange& part) -> absl::StatusOr<std::vector<ByteRange>> {
        const auto extents = volume.Changes(uid, part.offset, part.length);
        if (!extents.ok()) return extents.status();
        std::vector<ByteRange> ranges;
        for (const ChangedExtent& extent : *extents) {
          if (extent.changed) ranges.push_back({extent.offset, extent.length});
        }
        return ranges;
      },
      offset, found->size_bytes());
}

absl::Status SnapshotBlocks::Fill() {
  while (next_ == ranges_.size() && offset_ < end_) {
    const int64_t length = std::min(window_, end_ - offset_);
    auto ranges = ask_({offset_, length});
    if (!ranges.ok()) return ranges.status();
    ranges_ = *std::move(ranges);
    next_ = 0;
    offset_ += length;
    window_ = ranges_.empty() ? Larger(window_) : kWindowBytes;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<ByteRange>> SnapshotBlocks::Next() {
  std::optional<ByteRange> joined;
  while (true) {
    const absl::Status filled = Fill();
    if (!filled.ok()) return filled;
    if (next_ == ranges_.size()) return joined;
    const ByteRange& range = ranges_[next_];
    if (!joined.has_value()) {
      joined = range;
    } else if (joined->offset + joined->length == range.offset) {
      joined->length += range.length;
    } else {
      return joined;
    }
    ++next_;
  }
}

}  // namespace ramvol::csi_driver
