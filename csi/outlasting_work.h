// Work that may outlast its call.
#ifndef RAMVOL_CSI_OUTLASTING_WORK_H_
#define RAMVOL_CSI_OUTLASTING_WORK_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "csi/volume_locks.h"

namespace ramvol::csi_driver {

// For what may wait for ramvold in the kernel, which nothing ends: one piece of
// work at a time for each `what`, a volume or its device. Thread-safe.
class OutlastingWork {
 public:
  using Work = std::function<absl::Status()>;

  // Returns what `work` does, or UNAVAILABLE half a second before `deadline`,
  // to leave the caller time to answer. Then `work` goes on, on a thread of its
  // own, perhaps beyond the life of this; until it has ended, `what` gets
  // ABORTED.
  absl::Status Run(const std::string& what, Work work,
                   absl::Time deadline) const;

 private:
  // Shared with work that goes on.
  const std::shared_ptr<VolumeLocks> under_way_ =
      std::make_shared<VolumeLocks>();
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_OUTLASTING_WORK_H_
