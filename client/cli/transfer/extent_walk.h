// Listing the extents of a range of any length in bounded memory.
#ifndef RAMVOL_CLIENT_CLI_TRANSFER_EXTENT_WALK_H_
#define RAMVOL_CLIENT_CLI_TRANSFER_EXTENT_WALK_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/remote_volume.h"

namespace ramvol::cli {

// The extents of [offset, offset + length) in order, neighbours of one state
// joined. Asks for a window at a time, and for larger ones where there is
// nothing: an empty volume of any size takes few calls. Not thread-safe.
class ExtentCursor {
 public:
  ExtentCursor(RemoteVolume volume, int64_t offset, int64_t length);

  // An extent of no length at the end.
  absl::StatusOr<Extent> Next();

 private:
  // Fetches the extents of the next window; not at the end.
  absl::Status Ask();

  const RemoteVolume volume_;
  int64_t offset_;
  int64_t left_;
  int64_t window_;
  std::vector<Extent> extents_;  // Of the last window.
  size_t next_ = 0;              // Of them.
};

// Calls `visit` for each of them, until it returns an error, which is then
// returned.
absl::Status WalkExtents(
    const RemoteVolume& volume, int64_t offset, int64_t length,
    const std::function<absl::Status(const Extent&)>& visit);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_EXTENT_WALK_H_
