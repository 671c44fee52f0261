// Writes the caches of volumes back.
#ifndef RAMVOL_CSI_WRITE_BACK_H_
#define RAMVOL_CSI_WRITE_BACK_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "csi/device_attacher.h"
#include "csi/mounter.h"
#include "csi/outlasting_work.h"
#include "csi/volumes.h"

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

// Borrows all that it is given. Thread-safe.
class WriteBack {
 public:
  WriteBack(const Volumes* volumes, const DeviceAttacher* attacher,
            const Mounter* mounter)
      : volumes_(volumes), attacher_(attacher), mounter_(mounter) {}

  // Writes what a mounted file system or the device of the volume has in its
  // caches to ramvold; nothing if it is not attached, or its device is dead.
  //
  // UNAVAILABLE: ramvold is away, or it takes too long. ABORTED: the volume is
  // still being written back for an earlier call. INTERNAL: some of it could
  // not be written.
  absl::Status Flush(const std::string& handle, absl::Time deadline) const;

 private:
  const Volumes* const volumes_;
  const DeviceAttacher* const attacher_;
  const Mounter* const mounter_;
  const OutlastingWork flushes_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_WRITE_BACK_H_
