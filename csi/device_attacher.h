// Makes volumes block devices of this node.
#ifndef RAMVOL_CSI_DEVICE_ATTACHER_H_
#define RAMVOL_CSI_DEVICE_ATTACHER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace ramvol::csi_driver {

// A volume that is, or is to be, a device.
struct DeviceVolume {
  std::string name;  // As ramvold calls it.
  // Tells it from a later volume of the name.
  std::string uid;
  bool read_only = false;
};

struct AttachedDevice {
  std::string name;
  std::string uid;
  // "/dev/loop3"; "" when the work was interrupted before there was a device.
  std::string device;
  // Whether requests can get through to ramvold, as far as one can tell.
  bool alive = true;
  // DeviceAttacher::way() of the one that has it.
  std::string way;
};

// One way of attaching. What is attached stays so when the process ends, and
// the next one finds it: nothing is remembered but by the system itself. All
// calls may be repeated after they were interrupted anywhere.
//
// Deadlines bound waiting for processes and for devices to be free. What
// ramvold and the kernel are asked for takes as long as those let it: a flush,
// as long as ramvold is away.
//
// Thread-safe for different volumes. The caller calls once at a time for each.
class DeviceAttacher {
 public:
  virtual ~DeviceAttacher() = default;

  // "nbd" or "fuse".
  virtual std::string way() const = 0;

  // The path of the volume's device, which is made if there is none.
  //
  // FAILED_PRECONDITION: the volume is attached, but dead, and still mounted;
  // or people have attached it on this node.
  // DEADLINE_EXCEEDED, INTERNAL: it did not work; Attach or Detach again.
  virtual absl::StatusOr<std::string> Attach(const DeviceVolume& volume,
                                             absl::Time deadline) = 0;
  // Removes the device of the volume with this name, or what there is of it.
  // What is written must have been flushed and nothing may be mounted, else
  // FAILED_PRECONDITION. DEADLINE_EXCEEDED: it is not gone yet; Detach again.
  virtual absl::Status Detach(const std::string& name, absl::Time deadline) = 0;
  // Tells the device that its volume has grown to `bytes`.
  virtual absl::Status Grow(const AttachedDevice& device, uint64_t bytes) = 0;

  // What drivers have attached in this way. Devices that people attached are
  // not listed.
  virtual std::vector<AttachedDevice> List() const = 0;
  // The first in the list.
  std::optional<AttachedDevice> Find(const std::string& name) const {
    for (AttachedDevice& attached : List()) {
      if (attached.name == name) return std::move(attached);
    }
    return std::nullopt;
  }
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_DEVICE_ATTACHER_H_
