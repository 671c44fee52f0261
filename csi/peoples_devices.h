// Devices of the kernel's nbd driver that people attached on this node, with
// "ramvol attach".
#ifndef RAMVOL_CSI_PEOPLES_DEVICES_H_
#define RAMVOL_CSI_PEOPLES_DEVICES_H_

#include <string>

#include "absl/status/status.h"
#include "csi/device_attacher.h"

namespace ramvol::csi_driver {

// To be asked before the volume is attached, in whichever way. `sys`: where
// sysfs is. Linux before 5.14 does not tell what devices hold.
//
// FAILED_PRECONDITION: people have attached this very volume. Two devices would
// each have a cache of their own.
absl::Status CheckNotPeoples(const std::string& sys,
                             const DeviceVolume& volume);

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_PEOPLES_DEVICES_H_
