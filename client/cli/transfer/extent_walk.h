// Lists the extents of a range of any length, in bounded memory.
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

// Returns the extents of [offset, offset + length) in order. Neighbours differ
// in state. Asks the server for one window of the range at a time. Windows grow
// over holes, so an empty volume of any size takes few calls. Not thread-safe.
class ExtentCursor {
 public:
  ExtentCursor(RemoteVolume volume, int64_t offset, int64_t length);

  // The next extent. At the end, an extent of length 0.
  absl::StatusOr<Extent> Next();

 private:
  // Fetches the extents of the next window. Not for the end of the range.
  absl::Status Ask();

  const RemoteVolume volume_;
  int64_t offset_;
  int64_t left_;
  int64_t window_;
  std::vector<Extent> extents_;  // The extents of the last window.
  size_t next_ = 0;              // The index in extents_ of the next one.
};

// Calls `visit` for each extent. Stops at the first error, and returns it.
absl::Status WalkExtents(
    const RemoteVolume& volume, int64_t offset, int64_t length,
    const std::function<absl::Status(const Extent&)>& visit);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_EXTENT_WALK_H_
