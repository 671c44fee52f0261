// File systems in block devices: what there is, making, checking and growing.
#ifndef RAMVOL_CSI_FILE_SYSTEM_H_
#define RAMVOL_CSI_FILE_SYSTEM_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "csi/command.h"

namespace ramvol::csi_driver {

// As many bytes of the device's beginning as ProbeFileSystem wants.
inline constexpr size_t kProbeBytes = 128 << 10;

struct FileSystem {
  // "ext4" (also for ext2 and ext3), "xfs", "btrfs"; "" if all bytes are zero;
  // "unknown" for anything else.
  std::string type;
  uint64_t size_bytes = 0;  // As the file system says.
};

// Looks at the first kProbeBytes of a device, or all of a smaller one.
FileSystem ProbeFileSystem(std::string_view beginning);

// Thread-safe for different devices. Errors are those of CommandRunner::Output.
class FileSystems {
 public:
  // Borrows `commands`.
  explicit FileSystems(CommandRunner* commands) : commands_(commands) {}

  // INTERNAL when the device cannot be read.
  absl::StatusOr<FileSystem> Probe(const std::string& device) const;
  // 0 when the device cannot be opened.
  uint64_t DeviceBytes(const std::string& device) const;

  // Writes what is in the device's cache to it. INTERNAL when that fails.
  absl::Status WriteBack(const std::string& device) const;

  // Makes a file system. In a device that `is_zero`, so that it reads as zero
  // everywhere, nothing is trimmed, and nothing is zeroed, now or later.
  absl::Status Make(const std::string& type, const std::string& device,
                    bool is_zero, absl::Time deadline) const;
  // Repairs what a loss of the device left, as far as that is safe. INTERNAL
  // when a person has to.
  absl::Status Check(const std::string& type, const std::string& device,
                     absl::Time deadline) const;
  // Gives a copy that is not mounted a UUID of its own, where kernels refuse
  // two of the same. INTERNAL when the device fails.
  absl::Status RenewUuid(const std::string& type,
                         const std::string& device) const;
  // Makes the file system as large as its device, when it is mounted at
  // `target`.
  absl::Status Grow(const std::string& type, const std::string& device,
                    const std::string& target, absl::Time deadline) const;
  // The same when it is mounted nowhere, which takes longer. Once begun, it
  // goes on beyond the deadline, for an hour at most and while the driver runs.
  // UNIMPLEMENTED of types that only grow while they are mounted.
  absl::Status GrowUnmounted(const std::string& type, const std::string& device,
                             absl::Time deadline) const;
  // Tells the device what is free.
  absl::Status Trim(const std::string& target, absl::Time deadline) const;

 private:
  CommandRunner* const commands_;
};

// Options with which the driver mounts `type`, beside the user's.
std::vector<std::string> MountOptionsFor(const std::string& type);

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_FILE_SYSTEM_H_
