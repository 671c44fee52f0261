#include "csi/two_way_attacher.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "csi/device_attacher.h"

namespace ramvol::csi_driver {

absl::StatusOr<std::string> TwoWayAttacher::Attach(const DeviceVolume& volume,
                                                   absl::Time deadline) {
  const auto old = earlier_->Find(volume.name);
  if (old.has_value()) {
    if (old->alive && old->uid == volume.uid) {
      return earlier_->Attach(volume, deadline);
    }
    const absl::Status detached = earlier_->Detach(volume.name, deadline);
    if (!detached.ok()) return detached;
  }
  return present_->Attach(volume, deadline);
}

absl::Status TwoWayAttacher::Detach(const std::string& name,
                                    absl::Time deadline) {
  const absl::Status detached = earlier_->Detach(name, deadline);
  return detached.ok() ? present_->Detach(name, deadline) : detached;
}

absl::Status TwoWayAttacher::Grow(const AttachedDevice& device,
                                  uint64_t bytes) {
  const bool is_old = earlier_->Find(device.name).has_value();
  return (is_old ? earlier_ : present_)->Grow(device, bytes);
}

std::vector<AttachedDevice> TwoWayAttacher::List() const {
  std::vector<AttachedDevice> all = earlier_->List();
  for (AttachedDevice& attached : present_->List()) {
    all.push_back(std::move(attached));
  }
  return all;
}

}  // namespace ramvol::csi_driver
