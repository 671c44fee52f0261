// The kernel's nbd devices, as /sys shows them.
#ifndef RAMVOL_CLIENT_ATTACH_NBD_DEVICES_H_
#define RAMVOL_CLIENT_ATTACH_NBD_DEVICES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ramvol {

// What the driver keeps for a device that holds a volume. The uid tells a
// volume from a later one of the same name.
struct NbdBackend {
  std::string name;
  std::string uid;

  // "ramvol:NAME:UID".
  std::string ToString() const;
};
// Nothing for what is not ours.
std::optional<NbdBackend> ParseNbdBackend(std::string_view text);

// A device that is attached, by whichever program.
struct NbdDevice {
  int index = 0;
  // "" where none was given, and before Linux 5.14.
  std::string backend;
  // Queues that the device has: one for each connection, but at most one for
  // each CPU.
  int queues = 1;
  uint64_t size_bytes = 0;
};

// In order. `sys` is where sysfs is mounted.
std::vector<NbdDevice> AttachedNbdDevices(const std::string& sys);
// The one with this index, if it is attached.
std::optional<NbdDevice> FindNbdDevice(const std::string& sys, int index);

// "/dev/nbd3" is 3; nothing for all else, partitions too.
std::optional<int> ParseNbdDevice(std::string_view path);
std::string NbdDevicePath(int index);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_ATTACH_NBD_DEVICES_H_
