#include "server/access/watched_file.h"

#include <cerrno>

#include "absl/status/status.h"
#include "base/read_file.h"

namespace ramvol::access {
namespace {

bool Same(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

}  // namespace

bool WatchedFile::Mark::operator==(const Mark& other) const {
  return error == other.error && device == other.device &&
         inode == other.inode && bytes == other.bytes &&
         Same(modified, other.modified) && Same(changed, other.changed);
}

WatchedFile::Mark WatchedFile::Look() const {
  struct stat found = {};
  if (stat(path_.c_str(), &found) != 0) return {.error = errno};
  return {.device = found.st_dev,
          .inode = found.st_ino,
          .bytes = found.st_size,
          .modified = found.st_mtim,
          .changed = found.st_ctim};
}

std::optional<absl::StatusOr<std::string>> WatchedFile::ReadIfChanged() {
  const Mark before = Look();
  if (seen_.has_value() && *seen_ == before) return std::nullopt;
  absl::StatusOr<std::string> text = ReadFile(path_, kMaxBytes);
  // It may change while it is read: then a later call reads it.
  if (!(Look() == before)) return std::nullopt;
  seen_ = before;
  if (text.ok()) return text;
  return absl::InvalidArgumentError(text.status().message());
}

}  // namespace ramvol::access
