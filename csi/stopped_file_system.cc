#include "csi/stopped_file_system.h"

#include <fcntl.h>
#include <sys/xattr.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/file_descriptor.h"
#include "base/read_file.h"
#include "csi/mounter.h"

namespace ramvol::csi_driver {
namespace {

// That nothing has.
constexpr char kNoAttribute[] = "trusted.csi.ramvol.dev.none";

FileDescriptor OpenFolder(const std::string& path) {
  return FileDescriptor(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

}  // namespace

bool MayHaveStopped(const Mount& mount, const std::string& sys) {
  if (mount.stopped || mount.read_only) return mount.stopped;
  if (mount.fs_type == "ext4") {
    const std::string device = mount.source.substr(mount.source.rfind('/') + 1);
    const auto errors =
        ReadFile(absl::StrCat(sys, "/fs/ext4/", device, "/errors_count"));
    return errors.ok() && absl::StripAsciiWhitespace(*errors) != "0";
  }
  // Not even its folder can be opened where xfs has stopped. btrfs says it in
  // the mount's options.
  return !OpenFolder(mount.target).is_open() && errno == EIO;
}

absl::Status CheckWrites(const std::string& path) {
  const FileDescriptor folder = OpenFolder(path);
  // fsync would not tell: with nothing to commit, ext4 is content.
  if (folder.is_open() && fremovexattr(folder.get(), kNoAttribute) == 0) {
    return absl::OkStatus();
  }
  if (errno != EIO && errno != EROFS) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path, ": ", std::strerror(errno)));
}

}  // namespace ramvol::csi_driver
