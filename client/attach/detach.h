// Detaches a volume from a device of the kernel's nbd driver.
#ifndef RAMVOL_CLIENT_ATTACH_DETACH_H_
#define RAMVOL_CLIENT_ATTACH_DETACH_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/attach/kernel_nbd.h"

namespace ramvol {

// The only device that holds the volume `name`, beside those of ramvol-csi.
// `sys` is where sysfs is mounted.
//
// FAILED_PRECONDITION, reason NOT_ATTACHED: no device or several devices hold
// it; reason DEVICE_BUSY: pods have it, by ramvol-csi.
absl::StatusOr<int> FindDeviceOfVolume(const std::string& sys,
                                       const std::string& name);

struct DetachOptions {
  int index = 0;
  // Detaches even if the device is in use or cannot be flushed. Data may be
  // lost.
  bool force = false;
  // Without, what was not yet written is lost, but a device in use stays.
  bool flush = true;
  // How long other programs, such as udev, may still have the device open.
  absl::Duration free_timeout = absl::Seconds(5);
  std::string sys = "/sys";
  std::string dev = "/dev";
};

// Flushes the device, unless told not to, disconnects it and waits until it is
// free.
//
// Errors: FAILED_PRECONDITION, reason NOT_ATTACHED or DEVICE_BUSY (mounted, or
// opened by another program for itself); FileErrors of flushing and of the
// driver. After those, the device is as before. DEADLINE_EXCEEDED, reason
// DEVICE_BUSY: it is disconnected, but not free, for another program still has
// it open; with `force` that is no error.
absl::Status DetachNbd(KernelNbd* kernel, const DetachOptions& options);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_ATTACH_DETACH_H_
