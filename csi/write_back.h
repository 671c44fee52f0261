// Writes the caches of volumes back, and does what else may wait for ramvold in
// the kernel, without waiting for ever.
#ifndef RAMVOL_CSI_WRITE_BACK_H_
#define RAMVOL_CSI_WRITE_BACK_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "csi/volume_locks.h"

namespace ramvol::csi_driver {

// Writes back what the file system mounted at `path`, or the block device
// `path`, has in the kernel's caches. Nothing ends it before it is done.
// `is_it` is asked when `path` is open, whether that is what was meant: it may
// have been unmounted, but no longer can.
//
// INTERNAL: not all of that could be written. UNAVAILABLE: it is not what was
// meant; nothing was written.
absl::Status Sync(const std::string& path, bool is_device,
                  const std::function<bool()>& is_it);

// Thread-safe.
class WriteBack {
 public:
  using Work = std::function<absl::Status()>;

  // Returns what `work` does, or at `deadline` UNAVAILABLE. Then `work` goes
  // on, on a thread of its own, and until it has ended the volume gets ABORTED.
  absl::Status Run(const std::string& volume, Work work,
                   absl::Time deadline) const;

 private:
  // Shared with work that goes on.
  const std::shared_ptr<VolumeLocks> under_way_ =
      std::make_shared<VolumeLocks>();
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_WRITE_BACK_H_
