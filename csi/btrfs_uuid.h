// The UUID of a btrfs file system, of which a copy needs another one to be
// mounted beside its source.
#ifndef RAMVOL_CSI_BTRFS_UUID_H_
#define RAMVOL_CSI_BTRFS_UUID_H_

#include <string>

#include "absl/status/status.h"

namespace ramvol::csi_driver {

// Gives the file system in `device`, which is not mounted, a new UUID, by one
// write of its super block: whatever interrupts it, it is whole. All other
// blocks keep the old one, which the super block then names as theirs (Linux
// 5.0), as after btrfstune -m. That program commits a transaction as well, so
// that the log of a copy that was taken while its source was in use, of what is
// fsynced and not yet committed, cannot be read any more, nor mounted.
//
// Leaves what has other checksums than btrfs' default, a wrong one, or several
// devices as it is. INTERNAL: the device cannot be read or written, or is in
// use.
absl::Status RenewBtrfsUuid(const std::string& device);

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_BTRFS_UUID_H_
