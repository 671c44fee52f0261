// Attaches in one way, and cares for what was attached in another one before
// that was changed.
#ifndef RAMVOL_CSI_TWO_WAY_ATTACHER_H_
#define RAMVOL_CSI_TWO_WAY_ATTACHER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "csi/device_attacher.h"

namespace ramvol::csi_driver {

// A volume never has devices of both ways: each would have caches of its own.
class TwoWayAttacher final : public DeviceAttacher {
 public:
  TwoWayAttacher(std::unique_ptr<DeviceAttacher> present,
                 std::unique_ptr<DeviceAttacher> earlier)
      : present_(std::move(present)), earlier_(std::move(earlier)) {}

  // The present one.
  std::string way() const override { return present_->way(); }
  // A device of the earlier way stays until it is detached or dead.
  absl::StatusOr<std::string> Attach(const DeviceVolume& volume,
                                     absl::Time deadline) override;
  absl::Status Detach(const std::string& name, absl::Time deadline) override;
  absl::Status Grow(const AttachedDevice& device, uint64_t bytes) override;
  // Those of the earlier way come first: Find has to find what Attach would
  // keep.
  std::vector<AttachedDevice> List() const override;

 private:
  const std::unique_ptr<DeviceAttacher> present_;
  const std::unique_ptr<DeviceAttacher> earlier_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_TWO_WAY_ATTACHER_H_
