// Listing the extents of a range of any length in bounded memory.
#ifndef RAMVOL_CLIENT_CLI_TRANSFER_EXTENT_WALK_H_
#define RAMVOL_CLIENT_CLI_TRANSFER_EXTENT_WALK_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "client/remote_volume.h"

namespace ramvol::cli {

// Calls `visit` for the extents of [offset, offset + length) in order,
// neighbours of one state joined, until it returns an error, which is then
// returned. Asks for a window at a time, and for larger ones where there is
// nothing: an empty volume of any size takes few calls.
absl::Status WalkExtents(
    const RemoteVolume& volume, int64_t offset, int64_t length,
    const std::function<absl::Status(const Extent&)>& visit);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_EXTENT_WALK_H_
