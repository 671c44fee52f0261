// Mounts, and what is mounted.
#ifndef RAMVOL_CSI_MOUNTER_H_
#define RAMVOL_CSI_MOUNTER_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "csi/command.h"

namespace ramvol::csi_driver {

// A line of /proc/self/mountinfo.
struct Mount {
  std::string target;
  // What of the file system is mounted: "/" or a path in it. Of a device that
  // is mounted over a file, the device's: "/loop3".
  std::string root;
  std::string fs_type;
  std::string source;  // "/dev/loop3" of a file system in a device.
  bool read_only = false;
  // Nobody can write to the file system, though this mount would let them: the
  // kernel has stopped it after errors.
  bool stopped = false;

  // Whether a file system in this device, or the device itself, is mounted.
  bool Holds(const std::string& device) const;
};

// Reads the format of /proc/self/mountinfo. Lines that it does not understand
// are left out.
std::vector<Mount> ParseMounts(std::string_view mountinfo);

// Thread-safe.
class Mounter {
 public:
  // Borrows `commands`. `mountinfo` is a file that tests replace.
  explicit Mounter(CommandRunner* commands,
                   std::string mountinfo = "/proc/self/mountinfo")
      : commands_(commands), mountinfo_(std::move(mountinfo)) {}

  // In the order in which they were mounted.
  std::vector<Mount> List() const;
  // What is mounted at `target` itself, on top; nullopt if nothing is. Symbolic
  // links on the way are followed.
  std::optional<Mount> Find(const std::string& target) const;
  // Whether a device, or a file system in it, is mounted anywhere. Not "".
  bool IsMounted(const std::string& device) const;

  // Mounts the file system in a device. `options` are as of mount -o.
  absl::Status MountDevice(const std::string& device, const std::string& target,
                           const std::string& fs_type,
                           const std::vector<std::string>& options,
                           absl::Time deadline) const;
  // Makes `source`, a folder or a device, appear at `target`. When this fails,
  // nothing is mounted there.
  absl::Status Bind(const std::string& source, const std::string& target,
                    bool read_only, absl::Time deadline) const;
  // Lets nobody write to what is mounted at `target`; elsewhere it stays as it
  // is.
  absl::Status MakeReadOnly(const std::string& target,
                            absl::Time deadline) const;
  // Unmounts everything at `target`, which may be nothing.
  absl::Status Unmount(const std::string& target, absl::Time deadline) const;

 private:
  CommandRunner* const commands_;
  const std::string mountinfo_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_MOUNTER_H_
