// What calls that were interrupted left on this node.
#ifndef RAMVOL_CSI_LEFTOVERS_H_
#define RAMVOL_CSI_LEFTOVERS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/counters.h"
#include "csi/device_attacher.h"
#include "csi/mounter.h"
#include "csi/volume_locks.h"
#include "csi/volumes.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {

struct LeftoverCounts {
  uint64_t devices = 0;
  uint64_t volumes = 0;   // Inline ones.
  uint64_t failures = 0;  // Also to ask ramvold.
};

// Borrows all that it is given. Thread-safe.
class Leftovers {
 public:
  Leftovers(const Volumes* volumes, DeviceAttacher* attacher,
            const Mounter* mounter, VolumeLocks* locks)
      : volumes_(volumes),
        attacher_(attacher),
        mounter_(mounter),
        locks_(locks) {}

  // Takes away devices that nothing uses, and inline volumes whose pod is gone.
  // Takes the locks of these, and leaves what calls have. Returns what it did,
  // a line each.
  //
  // An error of ramvold's: nothing was looked at; call it again.
  absl::StatusOr<std::vector<std::string>> TakeAway(absl::Time deadline);
  // All together so far.
  LeftoverCounts counts() const;

 private:
  enum class Counter { kDevice, kInlineVolume, kFailure, kCount };

  std::optional<std::string> TakeDevice(const std::string& name,
                                        absl::Time deadline);
  std::optional<std::string> TakeInline(const v1::Volume& volume,
                                        absl::Time deadline);
  // Counts it, and returns its line.
  std::string Count(Counter what, const std::string& did,
                    const absl::Status& status);

  const Volumes* const volumes_;
  DeviceAttacher* const attacher_;
  const Mounter* const mounter_;
  VolumeLocks* const locks_;
  Counters<Counter> counts_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_LEFTOVERS_H_
