// Whether the kernel has stopped a file system after errors: as when ramvold
// was away for too long. Then nothing can be written to it until it is mounted
// anew.
#ifndef RAMVOL_CSI_STOPPED_FILE_SYSTEM_H_
#define RAMVOL_CSI_STOPPED_FILE_SYSTEM_H_

#include <string>

#include "absl/status/status.h"
#include "csi/mounter.h"

namespace ramvol::csi_driver {

// What the kernel shows without being asked to write. False is certain, except
// of ext4 before Linux 6.15 to which nobody has tried to write since. `sys`:
// where sysfs is.
bool MayHaveStopped(const Mount& mount, const std::string& sys = "/sys");

// Begins a transaction in the file system that is mounted at `path`, to be
// written, and changes nothing. Still, ext4 writes a block for it, and btrfs
// several. May wait for ramvold, which nothing ends.
//
// DATA_LOSS: it has stopped.
absl::Status CheckWrites(const std::string& path);

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_STOPPED_FILE_SYSTEM_H_
