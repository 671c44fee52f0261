// A node without root: programs that only note what they would have done, and
// devices that are files.
#ifndef RAMVOL_TESTS_CSI_FAKE_NODE_H_
#define RAMVOL_TESTS_CSI_FAKE_NODE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "csi/command.h"
#include "csi/device_attacher.h"

namespace ramvol::csi_driver {

// Knows mount, umount, mkfs.ext4 and resize2fs, and keeps a file like
// /proc/self/mountinfo. Any other program succeeds.
class FakeCommands final : public CommandRunner {
 public:
  explicit FakeCommands(std::string mountinfo);

  absl::StatusOr<CommandResult> Run(const Command& command,
                                    absl::Time deadline) override;
  absl::Status Start(const Command& command, const std::string& log,
                     absl::Time deadline) override;

  // Programs of this name fail from now on, or no longer.
  void Fail(const std::string& program, bool fails = true);
  // The kernel lets nobody write to the file systems in this device any more.
  void StopFileSystems(const std::string& device);
  // What ran since the last call of this, each as one line.
  std::vector<std::string> Taken();

 private:
  struct Entry {
    std::string source;
    std::string root;
    std::string fs_type;
    std::string target;
    bool read_only = false;
    bool stopped = false;
  };

  CommandResult Mount(const Command& command);
  CommandResult Unmount(const std::string& target);
  void WriteMountinfo() const;

  const std::string mountinfo_;
  std::vector<Entry> mounts_;
  std::set<std::string> failing_;
  std::vector<std::string> ran_;
};

// Devices are files of a folder, and die when the test says so.
class FakeAttacher final : public DeviceAttacher {
 public:
  explicit FakeAttacher(std::string folder, std::string way = "fake")
      : folder_(std::move(folder)), way_(std::move(way)) {}

  std::string way() const override { return way_; }
  absl::StatusOr<std::string> Attach(const DeviceVolume& volume,
                                     absl::Time deadline) override;
  absl::Status Detach(const std::string& name, absl::Time deadline) override;
  absl::Status Grow(const AttachedDevice& device, uint64_t bytes) override;
  std::vector<AttachedDevice> List() const override;

  // All calls but List fail like this, unless it is OK.
  void FailWith(absl::Status status) { failure_ = std::move(status); }
  void Kill(const std::string& name);
  // An Attach that was interrupted: before there was a process, or after it.
  void BeginToAttach(const DeviceVolume& volume, bool alive);
  uint64_t grown_bytes() const { return grown_bytes_; }

 private:
  const std::string folder_;
  const std::string way_;
  std::map<std::string, AttachedDevice> devices_;
  absl::Status failure_;
  uint64_t grown_bytes_ = 0;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_TESTS_CSI_FAKE_NODE_H_
