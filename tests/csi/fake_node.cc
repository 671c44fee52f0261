#include "tests/csi/fake_node.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "csi/command.h"
#include "csi/device_attacher.h"
#include "csi/file_system.h"

namespace ramvol::csi_driver {
namespace {

namespace fs = std::filesystem;

// The magic number of an ext4 file system that fills a device which is
// otherwise empty, in blocks of 1 KiB.
void FakeExt4(const std::string& device) {
  std::fstream file(device, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(0, std::ios::end);
  const auto blocks = static_cast<uint32_t>(file.tellp() / 1024);
  file.seekp(1024 + 4);
  file.write(reinterpret_cast<const char*>(&blocks), sizeof(blocks));
  file.seekp(1024 + 56);
  file.write("\x53\xef", 2);
}

}  // namespace

FakeCommands::FakeCommands(std::string mountinfo)
    : mountinfo_(std::move(mountinfo)) {
  WriteMountinfo();
}

absl::StatusOr<CommandResult> FakeCommands::Run(const Command& command,
                                                absl::Time) {
  ran_.push_back(absl::StrJoin(command, " "));
  if (failing_.count(command[0]) != 0) {
    return CommandResult{.exit_code = 8, .output = "it was told to fail"};
  }
  if (command[0] == "mount") return Mount(command);
  if (command[0] == "umount") return Unmount(command.back());
  if (command[0] == "mkfs.ext4" || command[0] == "resize2fs") {
    FakeExt4(command.back());
  }
  return CommandResult{.exit_code = 0, .output = ""};
}

absl::Status FakeCommands::Start(const Command& command, const std::string&,
                                 absl::Time deadline) {
  return Run(command, deadline).status();
}

void FakeCommands::Fail(const std::string& program, bool fails) {
  if (fails) {
    failing_.insert(program);
  } else {
    failing_.erase(program);
  }
}

std::vector<std::string> FakeCommands::Taken() {
  return std::exchange(ran_, {});
}

void FakeCommands::StopFileSystems(const std::string& device) {
  for (Entry& entry : mounts_) {
    if (entry.source == device) entry.stopped = true;
  }
  WriteMountinfo();
}

CommandResult FakeCommands::Mount(const Command& command) {
  const auto has = [&command](const char* word) {
    return std::find(command.begin(), command.end(), word) != command.end();
  };
  const std::string& target = command.back();
  const std::string& source = command[command.size() - 2];
  if (has("remount,bind,ro")) {
    mounts_.back().read_only = true;
  } else if (has("--bind")) {
    const auto of_source =
        std::find_if(mounts_.begin(), mounts_.end(),
                     [&](const Entry& each) { return each.target == source; });
    Entry entry = {"devtmpfs", source.substr(source.rfind('/')), "devtmpfs",
                   target};
    if (of_source != mounts_.end()) entry = *of_source;
    entry.target = target;
    mounts_.push_back(entry);
  } else {
    const std::string& options = command[4];
    mounts_.push_back(
        {source, "/", command[2], target,
         absl::StrCat(",", options, ",").find(",ro,") != std::string::npos});
  }
  WriteMountinfo();
  return {.exit_code = 0, .output = ""};
}

CommandResult FakeCommands::Unmount(const std::string& target) {
  for (auto entry = mounts_.rbegin(); entry != mounts_.rend(); ++entry) {
    if (entry->target != target) continue;
    mounts_.erase(std::next(entry).base());
    WriteMountinfo();
    return {.exit_code = 0, .output = ""};
  }
  return {.exit_code = 32, .output = "not mounted"};
}

void FakeCommands::WriteMountinfo() const {
  std::ofstream file(mountinfo_);
  for (const Entry& entry : mounts_) {
    file << "36 21 7:3 " << entry.root << " " << entry.target << " "
         << (entry.read_only ? "ro" : "rw") << " - " << entry.fs_type << " "
         << entry.source << (entry.stopped ? " ro\n" : " rw\n");
  }
}

absl::StatusOr<std::string> FakeAttacher::Attach(const DeviceVolume& volume,
                                                 absl::Time) {
  if (!failure_.ok()) return failure_;
  AttachedDevice& device = devices_[volume.name];
  if (device.alive && device.uid == volume.uid && !device.device.empty()) {
    return device.device;
  }
  const bool replaced = !device.uid.empty() && device.uid != volume.uid;
  device = {.name = volume.name,
            .uid = volume.uid,
            .device = absl::StrCat(folder_, "/dev-", volume.name),
            .alive = true,
            .way = way_};
  // What is in it stays, as it does in the volume.
  const auto mode = replaced ? std::ios::trunc : std::ios::app;
  std::ofstream(device.device, mode | std::ios::out).close();
  if (fs::file_size(device.device) < kProbeBytes) {
    fs::resize_file(device.device, kProbeBytes);
  }
  return device.device;
}

absl::Status FakeAttacher::Detach(const std::string& name, absl::Time) {
  if (!failure_.ok()) return failure_;
  devices_.erase(name);
  return absl::OkStatus();
}

absl::Status FakeAttacher::Grow(const AttachedDevice& device, uint64_t bytes) {
  if (!failure_.ok()) return failure_;
  fs::resize_file(device.device, bytes);
  grown_bytes_ = bytes;
  return absl::OkStatus();
}

std::vector<AttachedDevice> FakeAttacher::List() const {
  std::vector<AttachedDevice> all;
  for (const auto& [name, device] : devices_) all.push_back(device);
  return all;
}

void FakeAttacher::Kill(const std::string& name) {
  devices_[name].alive = false;
}

void FakeAttacher::BeginToAttach(const DeviceVolume& volume, bool alive) {
  devices_[volume.name] = {.name = volume.name,
                           .uid = volume.uid,
                           .device = "",
                           .alive = alive,
                           .way = way_};
}

}  // namespace ramvol::csi_driver
