#include "csi/fuse_attacher.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/file_descriptor.h"
#include "base/read_file.h"
#include "csi/command.h"
#include "csi/device_attacher.h"
#include "csi/fuse_process.h"
#include "csi/loop_devices.h"
#include "csi/mounter.h"
#include "csi/peoples_devices.h"
#include "csi/wait_until.h"

namespace ramvol::csi_driver {
namespace {

constexpr char kLogSuffix[] = ".log";
// How long a process that is unmounted may take to say good-bye to ramvold.
constexpr absl::Duration kEndTimeout = absl::Seconds(2);

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

// Much of what is read here may go at any time.
std::string ContentOf(const std::string& path) {
  return ReadFile(path).value_or("");
}

std::string LogOf(const std::string& file) { return file + kLogSuffix; }

// A process serves the file, which needs no ramvold. A file alone is not
// enough, nor is a mount whose process has ended.
bool IsServed(const std::string& file) {
  struct statfs info = {};
  return statfs(file.c_str(), &info) == 0 && info.f_type == FUSE_SUPER_MAGIC;
}

// The number of a file, which a file system that hangs is not asked for.
bool Identify(const std::string& path, struct statx* found) {
  return statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC, STATX_INO, found) ==
         0;
}

// The process that writes to the log, which no process of a pod can open,
// whatever it is called; 0 if there is none.
pid_t FindProcess(const std::string& log) {
  struct statx ours = {};
  if (!Identify(log, &ours)) return 0;
  for (const std::string& entry : NamesIn("/proc")) {
    pid_t pid = 0;
    struct statx theirs = {};
    if (absl::SimpleAtoi(entry, &pid) && pid > 0 &&
        Identify("/proc/" + entry + "/fd/2", &theirs) &&
        theirs.stx_ino == ours.stx_ino &&
        theirs.stx_dev_major == ours.stx_dev_major &&
        theirs.stx_dev_minor == ours.stx_dev_minor) {
      return pid;
    }
  }
  return 0;
}

}  // namespace

std::string FuseAttacher::FileOf(const std::string& name,
                                 const std::string& uid) const {
  return absl::StrCat(dir_, "/", name, "@", uid);
}

std::vector<AttachedDevice> FuseAttacher::List() const {
  std::vector<AttachedDevice> devices;
  for (const std::string& entry : NamesIn(dir_)) {
    if (absl::EndsWith(entry, kLogSuffix) ||
        absl::EndsWith(entry, LoopDevices::kNoteSuffix)) {
      continue;
    }
    const std::string file = dir_ + "/" + entry;
    FuseFileName name = ParseFuseFileName(file);
    if (name.volume.empty()) continue;
    devices.push_back({.name = std::move(name.volume),
                       .uid = std::move(name.uid),
                       .device = loops_.Find(file),
                       .alive = IsServed(file),
                       .way = way()});
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
  const absl::Status alone = CheckNotPeoples(sys_, volume);
  if (!alone.ok()) return alone;
  for (const AttachedDevice& attached : List()) {
    if (attached.name != volume.name) continue;
    const bool starts = !attached.alive && attached.device.empty() &&
                        IsStarted(LogOf(FileOf(attached.name, attached.uid)));
    const bool usable =
        (attached.alive || starts) && attached.uid == volume.uid;
    if (usable && !attached.device.empty()) return attached.device;
    if (usable) break;
    const absl::Status removed = Remove(attached, deadline);
    if (!removed.ok()) return removed;
  }
  const std::string file = FileOf(volume.name, volume.uid);
  if (!IsServed(file)) {
    const absl::Status started = StartProcess(file, volume, deadline);
    if (!started.ok()) return started;
  }
  return loops_.Make(file, volume.read_only, deadline);
}

absl::Status FuseAttacher::StartProcess(const std::string& file,
                                        const DeviceVolume& volume,
                                        absl::Time deadline) {
  const FileDescriptor made(
      open(file.c_str(), O_CREAT | O_RDONLY | O_CLOEXEC, 0600));
  if (!made.is_open()) {
    return absl::InternalError(absl::StrCat(file, ": ", std::strerror(errno)));
  }
  Command command = serve_;
  command.push_back(absl::StrCat(kFuseFileFlag, file));
  const absl::Status started = commands_->Start(command, LogOf(file), deadline);
  // One may have been started by a call that was interrupted.
  if (!started.ok() && !absl::IsAlreadyExists(started)) return started;
  const bool over = WaitUntil(deadline, [&file] {
    return IsServed(file) || !ContentOf(LogOf(file)).empty() ||
           !IsStarted(LogOf(file));
  });
  if (IsServed(file)) return absl::OkStatus();
  const std::string why = absl::StrCat("cannot serve volume \"", volume.name,
                                       "\" by FUSE: ", ContentOf(LogOf(file)));
  return over ? absl::InternalError(why) : absl::DeadlineExceededError(why);
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
  absl::Status done = CheckUnused(attached);
  const std::string file = FileOf(attached.name, attached.uid);
  if (done.ok()) done = loops_.Remove(file, deadline);
  if (done.ok()) done = mounter_->Unmount(file, deadline);
  if (!done.ok()) return done;
  // One that is served ends now. Else it had not begun, or other mount
  // namespaces have a copy of the mount, in which nothing uses it.
  const auto has_ended = [&file] { return !IsStarted(LogOf(file)); };
  const auto kill_it = [&file, &has_ended] {
    const pid_t pid = FindProcess(LogOf(file));
    if (pid > 0) kill(pid, SIGKILL);
    return has_ended();
  };
  if (!WaitUntil(absl::Now() + kEndTimeout, has_ended) &&
      !WaitUntil(deadline, kill_it)) {
    return absl::DeadlineExceededError(
        absl::StrCat("the process of volume \"", attached.name, "\" goes on"));
  }
  unlink(LogOf(file).c_str());
  if (unlink(file.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(file, ": ", std::strerror(errno)));
}

absl::Status FuseAttacher::Grow(const AttachedDevice& device, uint64_t bytes) {
  const std::string file = FileOf(device.name, device.uid);
  if (truncate(file.c_str(), static_cast<off_t>(bytes)) != 0) {
    return absl::InternalError(absl::StrCat(file, ": ", std::strerror(errno)));
  }
  const FileDescriptor loop(open(device.device.c_str(), O_RDONLY | O_CLOEXEC));
  if (loop.is_open() && ioctl(loop.get(), LOOP_SET_CAPACITY, 0) == 0) {
    return absl::OkStatus();
  }
  return absl::InternalError(absl::StrCat(
      device.device, " does not take its file's size: ", std::strerror(errno)));
}

}  // namespace ramvol::csi_driver
