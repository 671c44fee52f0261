#include "csi/fuse_attacher.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "csi/command.h"
#include "csi/device_attacher.h"
#include "csi/mounter.h"

namespace ramvol::csi_driver {
namespace {

constexpr char kSysBlock[] = "/sys/block";
constexpr absl::Duration kPoll = absl::Milliseconds(5);
constexpr char kConnections[] = "4";

std::vector<std::string> NamesIn(const std::string& dir) {
  std::vector<std::string> names;
  DIR* const open = opendir(dir.c_str());
  if (open == nullptr) return names;
  while (const dirent* entry = readdir(open)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  closedir(open);
  std::sort(names.begin(), names.end());
  return names;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file),
          std::istreambuf_iterator<char>()};
}

std::string ImageOf(const std::string& folder) { return folder + "/nbd"; }
std::string PidFileOf(const std::string& folder) { return folder + ".pid"; }
std::string LogOf(const std::string& folder) { return folder + ".log"; }

// The file is there; false when nbdfuse is gone as well.
bool HasImage(const std::string& folder) {
  struct stat info = {};
  return stat(ImageOf(folder).c_str(), &info) == 0;
}

// The loop device over the file, or "". The kernel shows it by its path, and
// calls the file deleted once its program is gone.
std::string FindLoop(const std::string& folder) {
  const std::string image = ImageOf(folder);
  for (const std::string& name : NamesIn(kSysBlock)) {
    if (!absl::StartsWith(name, "loop")) continue;
    const std::string file =
        ReadFile(absl::StrCat(kSysBlock, "/", name, "/loop/backing_file"));
    if (file == image + "\n" || file == image + " (deleted)\n") {
      return "/dev/" + name;
    }
  }
  return "";
}

// Polls until `done`, for lack of anything to wait for.
template <typename Done>
bool WaitUntil(absl::Time deadline, Done done) {
  while (!done()) {
    if (absl::Now() >= deadline) return false;
    absl::SleepFor(kPoll);
  }
  return true;
}

// Whether the process of the pid file runs and is nbdfuse.
bool IsRunning(const std::string& folder) {
  int pid = 0;
  std::string text = ReadFile(PidFileOf(folder));
  if (!absl::SimpleAtoi(text, &pid) || pid <= 0) return false;
  return ReadFile(absl::StrCat("/proc/", pid, "/comm")) == "nbdfuse\n";
}

}  // namespace

std::string FuseAttacher::FolderOf(const std::string& name,
                                   const std::string& uid) const {
  return absl::StrCat(dir_, "/", name, "@", uid);
}

std::vector<AttachedDevice> FuseAttacher::List() const {
  std::vector<AttachedDevice> devices;
  for (const std::string& entry : NamesIn(dir_)) {
    const size_t at = entry.rfind('@');
    const std::string folder = dir_ + "/" + entry;
    if (at == std::string::npos || absl::EndsWith(entry, ".pid") ||
        absl::EndsWith(entry, ".log")) {
      continue;
    }
    devices.push_back({.name = entry.substr(0, at),
                       .uid = entry.substr(at + 1),
                       .device = FindLoop(folder),
                       .alive = HasImage(folder)});
  }
  return devices;
}

absl::Status FuseAttacher::CheckUnused(const AttachedDevice& attached) const {
  if (attached.device.empty()) return absl::OkStatus();
  for (const Mount& mount : mounter_->List()) {
    if (!mount.Holds(attached.device)) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(attached.device, " of volume \"", attached.name,
                     "\" is mounted at ", mount.target, "; unmount it first"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> FuseAttacher::Attach(const DeviceVolume& volume,
                                                 absl::Time deadline) {
  for (const AttachedDevice& attached : List()) {
    if (attached.name != volume.name) continue;
    const bool usable = attached.alive && attached.uid == volume.uid;
    if (usable && !attached.device.empty()) return attached.device;
    if (usable) break;
    const absl::Status removed = Remove(attached, deadline);
    if (!removed.ok()) return removed;
  }
  const std::string folder = FolderOf(volume.name, volume.uid);
  if (!HasImage(folder)) {
    const absl::Status started = StartFuse(folder, volume, deadline);
    if (!started.ok()) return started;
  }
  return MakeLoop(folder, volume.read_only, deadline);
}

absl::Status FuseAttacher::StartFuse(const std::string& folder,
                                     const DeviceVolume& volume,
                                     absl::Time deadline) {
  const absl::StatusOr<std::string> uri = uri_of_(volume.name);
  if (!uri.ok()) return uri.status();
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return absl::InternalError(
        absl::StrCat(folder, ": ", std::strerror(errno)));
  }
  unlink(PidFileOf(folder).c_str());
  const absl::Status started =
      commands_->Start({"nbdfuse", "-C", kConnections, "--pidfile",
                        PidFileOf(folder), folder, *uri},
                       LogOf(folder), deadline);
  if (!started.ok()) return started;
  const bool over = WaitUntil(deadline, [&folder] {
    return HasImage(folder) || !ReadFile(LogOf(folder)).empty();
  });
  if (HasImage(folder)) return absl::OkStatus();
  const std::string why =
      absl::StrCat("nbdfuse does not serve volume \"", volume.name,
                   "\": ", ReadFile(LogOf(folder)));
  return over ? absl::InternalError(why) : absl::DeadlineExceededError(why);
}

absl::StatusOr<std::string> FuseAttacher::MakeLoop(const std::string& folder,
                                                   bool read_only,
                                                   absl::Time deadline) {
  // Direct, so that nothing is cached twice.
  Command command = {"losetup", "--find", "--show", "--direct-io=on"};
  if (read_only) command.push_back("--read-only");
  command.push_back(ImageOf(folder));
  return commands_->Output(command, deadline);
}

absl::Status FuseAttacher::Detach(const std::string& name,
                                  absl::Time deadline) {
  for (const AttachedDevice& attached : List()) {
    if (attached.name != name) continue;
    const absl::Status removed = Remove(attached, deadline);
    if (!removed.ok()) return removed;
  }
  return absl::OkStatus();
}

absl::Status FuseAttacher::Remove(const AttachedDevice& attached,
                                  absl::Time deadline) {
  const absl::Status unused = CheckUnused(attached);
  if (!unused.ok()) return unused;
  const std::string folder = FolderOf(attached.name, attached.uid);
  // More than one, if an interrupted call and its repetition both made one.
  for (std::string loop = FindLoop(folder); !loop.empty();
       loop = FindLoop(folder)) {
    const absl::Status freed =
        commands_->Output({"losetup", "--detach", loop}, deadline).status();
    if (!freed.ok()) return freed;
    // It goes when whoever looks at it, such as udev, is done.
    if (!WaitUntil(deadline, [&] { return FindLoop(folder) != loop; })) {
      return absl::DeadlineExceededError(
          absl::StrCat(loop, " is in use, so it stays"));
    }
  }
  const absl::Status unmounted = mounter_->Unmount(folder, deadline);
  if (!unmounted.ok()) return unmounted;
  if (!WaitUntil(deadline, [&] { return !IsRunning(folder); })) {
    return absl::DeadlineExceededError(
        absl::StrCat("nbdfuse of volume \"", attached.name, "\" goes on"));
  }
  unlink(PidFileOf(folder).c_str());
  unlink(LogOf(folder).c_str());
  if (rmdir(folder.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(folder, ": ", std::strerror(errno)));
}

absl::Status FuseAttacher::Grow(const AttachedDevice& device, uint64_t) {
  return absl::FailedPreconditionError(absl::StrCat(
      "volume \"", device.name,
      "\" is attached by nbdfuse, which keeps its size; it grows when it is "
      "staged the next time. Nodes with the kernel's nbd driver grow at once"));
}

}  // namespace ramvol::csi_driver
