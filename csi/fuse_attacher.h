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
#include "csi/mounter.h"

namespace ramvol::csi_driver {

// nbdfuse makes a volume the file DIR/NAME@UID/nbd, and a loop device lies over
// that. nbdfuse ends when its server does: the device gives errors from then
// on, until it is detached and attached anew.
class FuseAttacher final : public DeviceAttacher {
 public:
  // Borrows `commands` and `mounter`. `dir` exists.
  FuseAttacher(CommandRunner* commands, const Mounter* mounter, std::string dir,
               UriOf uri_of)
      : commands_(commands),
        mounter_(mounter),
        dir_(std::move(dir)),
        uri_of_(std::move(uri_of)) {}

  std::string way() const override { return "fuse"; }
  absl::StatusOr<std::string> Attach(const DeviceVolume& volume,
                                     absl::Time deadline) override;
  absl::Status Detach(const std::string& name, absl::Time deadline) override;
  absl::Status Grow(const AttachedDevice& device, uint64_t bytes) override;
  std::vector<AttachedDevice> List() const override;
  bool is_alone() const override { return true; }

 private:
  // DIR/NAME@UID.
  std::string FolderOf(const std::string& name, const std::string& uid) const;
  absl::Status StartFuse(const std::string& folder, const DeviceVolume& volume,
                         absl::Time deadline);
  absl::StatusOr<std::string> MakeLoop(const std::string& folder,
                                       bool read_only, absl::Time deadline);
  absl::Status Remove(const AttachedDevice& attached, absl::Time deadline);
  absl::Status CheckUnused(const AttachedDevice& attached) const;

  CommandRunner* const commands_;
  const Mounter* const mounter_;
  const std::string dir_;
  const UriOf uri_of_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_FUSE_ATTACHER_H_
