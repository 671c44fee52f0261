#include "client/cli/transfer/extent_walk.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/remote_volume.h"

namespace ramvol::cli {
namespace {

// At most 262144 extents.
constexpr int64_t kWindowBytes = int64_t{1} << 30;

// A window in which nothing was found is followed by one four times as large.
int64_t NextWindow(int64_t window, const std::vector<Extent>& extents) {
  const bool empty = extents.size() == 1 && extents[0].hole;
  if (!empty) return kWindowBytes;
  if (window > std::numeric_limits<int64_t>::max() / 4) return window;
  return window * 4;
}

}  // namespace

absl::Status WalkExtents(
    const RemoteVolume& volume, int64_t offset, int64_t length,
    const std::function<absl::Status(const Extent&)>& visit) {
  int64_t window = kWindowBytes;
  Extent joined = {.offset = offset};
  while (length > 0) {
    const int64_t asked = std::min(window, length);
    absl::StatusOr<std::vector<Extent>> extents = volume.Extents(offset, asked);
    if (!extents.ok()) return extents.status();
    for (const Extent& extent : *extents) {
      if (joined.length > 0 && joined.hole == extent.hole) {
        joined.length += extent.length;
        continue;
      }
      if (joined.length > 0) {
        absl::Status visited = visit(joined);
        if (!visited.ok()) return visited;
      }
      joined = extent;
    }
    window = NextWindow(window, *extents);
    offset += asked;
    length -= asked;
  }
  return joined.length > 0 ? visit(joined) : absl::OkStatus();
}

}  // namespace ramvol::cli
