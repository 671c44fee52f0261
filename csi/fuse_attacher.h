// Attaches by FUSE and a loop device, for nodes without the kernel's nbd
// driver: kind, WSL, hardened kernels.
#ifndef RAMVOL_CSI_FUSE_ATTACHER_H_
#define RAMVOL_CSI_FUSE_ATTACHER_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "csi/command.h"
#include "csi/device_attacher.h"
#include "csi/loop_devices.h"
#include "csi/mounter.h"

namespace ramvol::csi_driver {

// A process (csi/fuse_process.h) makes a volume the file DIR/NAME@UID, and a
// loop device lies over that. The process waits for a ramvold that restarts. It
// ends when it is unmounted, or when ramvold has the volume no more: the device
// gives errors from then on, until it is detached.
class FuseAttacher final : public DeviceAttacher {
 public:
  // Borrows `commands` and `mounter`. `dir` exists. `serve` is the command that
  // serves a file, without the file's flag. `sys`: where sysfs is.
  FuseAttacher(CommandRunner* commands, const Mounter* mounter, std::string dir,
               Command serve, std::string sys = "/sys")
      : commands_(commands),
        mounter_(mounter),
        dir_(std::move(dir)),
        serve_(std::move(serve)),
        sys_(std::move(sys)),
        loops_(commands) {}

  std::string way() const override { return "fuse"; }
  absl::StatusOr<std::string> Attach(const DeviceVolume& volume,
                                     absl::Time deadline) override;
  absl::Status Detach(const std::string& name, absl::Time deadline) override;
  absl::Status Grow(const AttachedDevice& device, uint64_t bytes) override;
  std::vector<AttachedDevice> List() const override;

 private:
  // DIR/NAME@UID.
  std::string FileOf(const std::string& name, const std::string& uid) const;
  absl::Status StartProcess(const std::string& file, const DeviceVolume& volume,
                            absl::Time deadline);
  absl::Status Remove(const AttachedDevice& attached, absl::Time deadline);
  absl::Status CheckUnused(const AttachedDevice& attached) const;

  CommandRunner* const commands_;
  const Mounter* const mounter_;
  const std::string dir_;
  const Command serve_;
  const std::string sys_;
  LoopDevices loops_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_FUSE_ATTACHER_H_
