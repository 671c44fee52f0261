// Where volumes appear in pods: folders and files to mount over.
#ifndef RAMVOL_CSI_MOUNT_TARGET_H_
#define RAMVOL_CSI_MOUNT_TARGET_H_

#include <string>

#include "absl/status/status.h"

namespace ramvol::csi_driver {

enum class TargetKind {
  kFolder,  // For a file system.
  kFile,    // For a device.
};

// Makes the target, and the folder that it is in if that is missing. What is
// there stays as it is.
//
// INTERNAL: it could not be made. Its folder may have been.
absl::Status MakeTarget(const std::string& target, TargetKind kind);

// Removes an empty folder or a file; nothing there is OK. Nothing may be
// mounted over it.
//
// INTERNAL: it stays, for it is in use, or not empty.
absl::Status RemoveTarget(const std::string& target);

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_MOUNT_TARGET_H_
