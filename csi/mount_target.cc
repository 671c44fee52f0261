#include "csi/mount_target.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/file_descriptor.h"

namespace ramvol::csi_driver {
namespace {

constexpr mode_t kFolderMode = 0750;
constexpr mode_t kFileMode = 0600;

absl::Status PathError(const std::string& path, int error) {
  return absl::InternalError(absl::StrCat(path, ": ", std::strerror(error)));
}

absl::Status MakeFolder(const std::string& path) {
  if (mkdir(path.c_str(), kFolderMode) == 0 || errno == EEXIST) {
    return absl::OkStatus();
  }
  return PathError(path, errno);
}

}  // namespace

absl::Status MakeTarget(const std::string& target, TargetKind kind) {
  const size_t slash = target.rfind('/');
  if (slash != std::string::npos && slash > 0) {
    absl::Status made = MakeFolder(target.substr(0, slash));
    if (!made.ok()) return made;
  }
  if (kind == TargetKind::kFolder) return MakeFolder(target);
  const FileDescriptor file(
      open(target.c_str(), O_CREAT | O_RDONLY | O_CLOEXEC, kFileMode));
  return file.is_open() ? absl::OkStatus() : PathError(target, errno);
}

absl::Status RemoveTarget(const std::string& target) {
  if (rmdir(target.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno == ENOTDIR && (unlink(target.c_str()) == 0 || errno == ENOENT)) {
    return absl::OkStatus();
  }
  return PathError(target, errno);
}

}  // namespace ramvol::csi_driver
