// How large a block device is.
#ifndef RAMVOL_CSI_DEVICE_SIZE_H_
#define RAMVOL_CSI_DEVICE_SIZE_H_

#include <cstdint>
#include <string>

namespace ramvol::csi_driver {

// The size of the device "/dev/NAME", or of a file, which is one in tests; 0 if
// sysfs, which is at `sys`, knows none. It is not opened, so this never waits:
// neither for a scan for partitions nor for a ramvold that is away.
uint64_t SizeOfDevice(const std::string& device,
                      const std::string& sys = "/sys");

// Whether a file system of so many bytes fills the device for certain;
// UINT64_MAX fills any.
bool FillsDevice(uint64_t bytes, const std::string& device,
                 const std::string& sys = "/sys");

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_DEVICE_SIZE_H_
