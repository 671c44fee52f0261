// How large a block device is.
#ifndef RAMVOL_CSI_DEVICE_SIZE_H_
#define RAMVOL_CSI_DEVICE_SIZE_H_

#include <cstdint>
#include <string>

namespace ramvol::csi_driver {

// Does not open the device "/dev/NAME", so that it waits for nothing: neither
// for a scan for partitions nor for a ramvold that is away. `sys`: where sysfs
// is. 0 when there is no such device.
uint64_t SizeOfDevice(const std::string& device,
                      const std::string& sys = "/sys");

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_DEVICE_SIZE_H_
