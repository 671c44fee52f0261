#include "base/read_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/file_descriptor.h"
#include "base/file_error.h"

namespace ramvol {
namespace {

constexpr size_t kFirstBytes = 4096;

// Up to `bytes`; 0 at the end, -1 with errno.
ssize_t ReadSome(int fd, char* out, size_t bytes) {
  ssize_t n = 0;
  do {
    n = read(fd, out, bytes);
  } while (n < 0 && errno == EINTR);
  return n;
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     size_t max_bytes) {
  const std::string what = absl::StrCat("cannot read ", path);
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) return FileError(errno, what);
  std::string text;
  size_t size = 0;
  while (size <= max_bytes) {
    if (size == text.size()) text.resize(size == 0 ? kFirstBytes : 2 * size);
    const ssize_t n =
        ReadSome(file.get(), text.data() + size, text.size() - size);
    if (n < 0) return FileError(errno, what);
    if (n == 0) {
      text.resize(size);
      return text;
    }
    size += static_cast<size_t>(n);
  }
  return absl::OutOfRangeError(
      absl::StrCat(what, ": it has more than ", max_bytes, " bytes"));
}

}  // namespace ramvol
