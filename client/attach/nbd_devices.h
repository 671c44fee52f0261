// Lists the kernel's nbd devices.
#ifndef RAMVOL_CLIENT_ATTACH_NBD_DEVICES_H_
#define RAMVOL_CLIENT_ATTACH_NBD_DEVICES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ramvol {

// The text that the driver keeps for a device that holds a volume. The uid
// tells the volume from a later one of the same name.
struct NbdBackend {
  std::string name;
  std::string uid;
  // Whether ramvol-csi has attached it.
  bool by_csi = false;

  // "ramvol:NAME:UID" or "ramvol-csi:NAME:UID".
  std::string ToString() const;
};
// nullopt for text that is not ours.
std::optional<NbdBackend> ParseNbdBackend(std::string_view text);

// A device that any program has attached.
struct NbdDevice {
  int index = 0;
  // "" if none was given, and always before Linux 5.14.
  std::string backend;
  // How many queues the device has: one for each connection, at most one for
  // each CPU.
  int queues = 1;
  uint64_t size_bytes = 0;
};

// The attached devices, by index. `sys` is where sysfs is mounted.
std::vector<NbdDevice> AttachedNbdDevices(const std::string& sys);
// The device with this index, if it is attached.
std::optional<NbdDevice> FindNbdDevice(const std::string& sys, int index);

// The first device that holds the volume with this uid and that ramvol-csi has
// attached, or has not.
std::optional<NbdDevice> FindNbdDeviceOf(const std::string& sys,
                                         std::string_view uid, bool by_csi);

// 3 for "/dev/nbd3". nullopt for any other path, such as a partition's.
std::optional<int> ParseNbdDevice(std::string_view path);
std::string NbdDevicePath(int index);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_ATTACH_NBD_DEVICES_H_
