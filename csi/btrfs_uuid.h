// The UUID of a btrfs file system, of which a copy needs another one to be
// mounted beside its source.
#ifndef RAMVOL_CSI_BTRFS_UUID_H_
#define RAMVOL_CSI_BTRFS_UUID_H_

#include <string>

#include "absl/status/status.h"

namespace ramvol::csi_driver {

// Gives the file system in `device`, which is not mounted, a new UUID, by one
// write of its super block. An interruption leaves the old or the new super
// block. All other blocks keep the old UUID, which the super block then names
// as theirs (Linux 5.0), as after btrfstune -m. But btrfstune also commits a
// transaction: the log of a copy that was taken in use (what was fsynced and
// not yet committed) does not fit then, and the copy cannot be mounted.
//
// OK, and unchanged: other checksums than crc32c, a wrong one, several devices,
// a seed, an unfinished btrfstune. INTERNAL: the device cannot be read or
// written, or is in use.
absl::Status RenewBtrfsUuid(const std::string& device);

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_BTRFS_UUID_H_
