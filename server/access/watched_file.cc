#include "server/access/watched_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace ramvol::access {
namespace {

absl::Status Unreadable(const std::string& path, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": cannot be read: ", why));
}

absl::StatusOr<std::string> ReadAll(const std::string& path) {
  // "e": close-on-exec.
  std::FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return Unreadable(path, std::strerror(errno));
  const auto close_file = absl::MakeCleanup([file] { std::fclose(file); });
  constexpr size_t kPartBytes = size_t{64} << 10;
  std::string text;
  size_t got = kPartBytes;
  while (got == kPartBytes && text.size() <= WatchedFile::kMaxBytes) {
    const size_t old = text.size();
    text.resize(old + kPartBytes);
    got = std::fread(text.data() + old, 1, kPartBytes, file);
    text.resize(old + got);
  }
  if (std::ferror(file) != 0) return Unreadable(path, std::strerror(errno));
  if (text.size() <= WatchedFile::kMaxBytes) return text;
  return Unreadable(path, absl::StrCat("it has more than ",
                                       WatchedFile::kMaxBytes, " bytes"));
}

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
  absl::StatusOr<std::string> text = ReadAll(path_);
  // It may change while it is read: then a later call reads it.
  if (!(Look() == before)) return std::nullopt;
  seen_ = before;
  return text;
}

}  // namespace ramvol::access
