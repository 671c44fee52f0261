#include "csi/node_cgroup.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file_descriptor.h"
#include "base/read_file.h"
#include "csi/mounter.h"

namespace ramvol::csi_driver {
namespace {

// Others may be mounted elsewhere, such as those of containers.
constexpr char kCgroups[] = "/sys/fs/cgroup";
constexpr char kFolder[] = "/ramvol-csi";
constexpr mode_t kFolderMode = 0755;

absl::Status ErrorAt(const std::string& path) {
  return absl::FailedPreconditionError(
      absl::StrCat(path, ": ", std::strerror(errno)));
}

// Whether both can be seen, and are not the same.
bool Differ(const std::string& path, const std::string& other) {
  struct stat a = {};
  struct stat b = {};
  return stat(path.c_str(), &a) == 0 && stat(other.c_str(), &b) == 0 &&
         (a.st_dev != b.st_dev || a.st_ino != b.st_ino);
}

// With delegated namespaces, the kernel lets nobody move a process to where the
// mover's own namespace does not reach.
absl::Status EnterCgroupNamespace(const std::string& proc) {
  const std::string path = proc + "/1/ns/cgroup";
  if (!Differ(path, proc + "/self/ns/cgroup")) return absl::OkStatus();
  const FileDescriptor space(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (space.is_open() && setns(space.get(), CLONE_NEWCGROUP) == 0) {
    return absl::OkStatus();
  }
  return ErrorAt(path);
}

// A file into which a process's number is to be written.
struct Target {
  std::string path;
  FileDescriptor file;
};

// One of each hierarchy of the node, whichever are there.
absl::StatusOr<std::vector<Target>> OpenTargets(const std::string& proc) {
  std::vector<Target> targets;
  const std::string root = proc + "/1/root";
  for (const Mount& mount :
       ParseMounts(ReadFile(proc + "/1/mountinfo").value_or(""))) {
    if (mount.target != kCgroups &&
        !absl::StartsWith(mount.target, absl::StrCat(kCgroups, "/"))) {
      continue;
    }
    if (mount.fs_type != "cgroup" && mount.fs_type != "cgroup2") continue;
    std::string folder = root + mount.target;
    if (mount.fs_type == "cgroup2") {
      folder += kFolder;
      if (mkdir(folder.c_str(), kFolderMode) != 0 && errno != EEXIST) {
        return ErrorAt(folder);
      }
    }
    Target target;
    target.path = folder + "/cgroup.procs";
    target.file =
        FileDescriptor(open(target.path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!target.file.is_open()) return ErrorAt(target.path);
    targets.push_back(std::move(target));
  }
  if (!targets.empty()) return targets;
  return absl::FailedPreconditionError(
      absl::StrCat("the node has no cgroups at ", kCgroups));
}

}  // namespace

bool IsInContainerOfNode(const std::string& proc) {
  return Differ(proc + "/1/root", proc + "/self/root");
}

absl::Status CheckNodeCgroup(const std::string& proc) {
  return OpenTargets(proc).status();
}

absl::Status EnterNodeCgroup(const std::string& proc) {
  const absl::Status entered = EnterCgroupNamespace(proc);
  if (!entered.ok()) return entered;
  const auto targets = OpenTargets(proc);
  if (!targets.ok()) return targets.status();
  for (const Target& target : *targets) {
    // The process that writes.
    if (write(target.file.get(), "0", 1) != 1) return ErrorAt(target.path);
  }
  return absl::OkStatus();
}

}  // namespace ramvol::csi_driver
