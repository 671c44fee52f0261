#include "client/cli/transfer/extent_walk.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/remote_volume.h"

namespace ramvol::cli {
namespace {

// A window of this size has at most 262144 extents.
constexpr int64_t kWindowBytes = int64_t{1} << 30;

// After a window that is one hole, the next is four times as large.
int64_t NextWindow(int64_t window, const std::vector<Extent>& extents) {
  const bool empty = extents.size() == 1 && extents[0].hole;
  if (!empty) return kWindowBytes;
  if (window > std::numeric_limits<int64_t>::max() / 4) return window;
  return window * 4;
}

}  // namespace

ExtentCursor::ExtentCursor(RemoteVolume volume, int64_t offset, int64_t length)
    : volume_(std::move(volume)),
      offset_(offset),
      left_(length),
      window_(kWindowBytes) {}

absl::StatusOr<Extent> ExtentCursor::Next() {
  Extent joined;
  for (;;) {
    if (next_ == extents_.size()) {
      if (left_ == 0) return joined;
      absl::Status asked = Ask();
      if (!asked.ok()) return asked;
      continue;
    }
    const Extent& extent = extents_[next_];
    if (joined.length == 0) {
      joined = extent;
    } else if (joined.hole == extent.hole) {
      joined.length += extent.length;
    } else {
      return joined;
    }
    ++next_;
  }
}

absl::Status ExtentCursor::Ask() {
  const int64_t asked = std::min(window_, left_);
  absl::StatusOr<std::vector<Extent>> extents = volume_.Extents(offset_, asked);
  if (!extents.ok()) return extents.status();
  extents_ = *std::move(extents);
  next_ = 0;
  window_ = NextWindow(window_, extents_);
  offset_ += asked;
  left_ -= asked;
  return absl::OkStatus();
}

absl::Status WalkExtents(
    const RemoteVolume& volume, int64_t offset, int64_t length,
    const std::function<absl::Status(const Extent&)>& visit) {
  ExtentCursor cursor(volume, offset, length);
  for (;;) {
    absl::StatusOr<Extent> extent = cursor.Next();
    if (!extent.ok()) return extent.status();
    if (extent->length == 0) return absl::OkStatus();
    absl::Status visited = visit(*extent);
    if (!visited.ok()) return visited;
  }
}

}  // namespace ramvol::cli
