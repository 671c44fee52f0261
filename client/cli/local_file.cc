#include "client/cli/local_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/file_error.h"

namespace ramvol::cli {
namespace {

constexpr int kNewFileMode = 0666;
// How often a call that waits for a pipe checks whether it was interrupted.
constexpr int kPollMs = 100;

int OpenRetrying(const std::string& path, int flags) {
  int fd;
  do {
    fd = open(path.c_str(), flags | O_CLOEXEC, kNewFileMode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

}  // namespace

absl::Status WriteAll(int fd, std::string_view data, const std::string& name) {
  while (!data.empty()) {
    const ssize_t written = write(fd, data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      return FileError(errno, absl::StrCat("cannot write ", name));
    }
    data.remove_prefix(written);
  }
  return absl::OkStatus();
}

LocalFile::LocalFile(int fd, bool owned, std::string name,
                     const std::atomic<bool>& interrupted)
    : fd_(fd),
      owned_(owned),
      name_(std::move(name)),
      interrupted_(&interrupted) {}

LocalFile::LocalFile(LocalFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      owned_(other.owned_),
      name_(other.name_),
      interrupted_(other.interrupted_),
      path_(std::move(other.path_)),
      created_(other.created_),
      random_access_(other.random_access_),
      base_offset_(other.base_offset_),
      size_bytes_(other.size_bytes_),
      position_(other.position_),
      peeked_(std::move(other.peeked_)) {}

LocalFile::~LocalFile() {
  if (owned_ && fd_ >= 0) close(fd_);
}

absl::StatusOr<LocalFile> LocalFile::OpenForReading(
    const std::string& path, int standard_fd,
    const std::atomic<bool>& interrupted) {
  const bool standard = path == "-";
  const int fd = standard ? standard_fd : OpenRetrying(path, O_RDONLY);
  if (fd < 0) return FileError(errno, absl::StrCat("cannot open ", path));
  LocalFile file(fd, !standard, standard ? "standard input" : path,
                 interrupted);
  absl::Status inspected = file.Inspect(/*for_writing=*/false);
  if (!inspected.ok()) return inspected;
  return file;
}

absl::StatusOr<LocalFile> LocalFile::OpenForWriting(
    const std::string& path, int standard_fd,
    const std::atomic<bool>& interrupted) {
  const bool standard = path == "-";
  int fd = standard_fd;
  bool created = false;
  if (!standard) {
    fd = OpenRetrying(path, O_WRONLY | O_CREAT | O_EXCL);
    created = fd >= 0;
    if (!created && errno == EEXIST) {
      fd = OpenRetrying(path, O_WRONLY | O_CREAT | O_TRUNC);
    }
    if (fd < 0) return FileError(errno, absl::StrCat("cannot create ", path));
  }
  LocalFile file(fd, !standard, standard ? "standard output" : path,
                 interrupted);
  file.created_ = created;
  absl::Status inspected = file.Inspect(/*for_writing=*/true);
  if (!inspected.ok()) return inspected;
  return file;
}

absl::StatusOr<LocalFile> LocalFile::OpenForReplacing(
    const std::string& path, int standard_fd,
    const std::atomic<bool>& interrupted) {
  struct stat info;
  const bool other =
      path == "-" || (stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode));
  if (other) return OpenForWriting(path, standard_fd, interrupted);
  std::string unfinished = absl::StrCat(path, ".part-XXXXXX");
  const int fd = mkostemp(unfinished.data(), O_CLOEXEC);
  if (fd < 0) return FileError(errno, absl::StrCat("cannot create ", path));
  // As open would have made it.
  const mode_t mask = umask(0);
  umask(mask);
  (void)fchmod(fd, kNewFileMode & ~mask);
  LocalFile file(fd, /*owned=*/true, path, interrupted);
  file.path_ = std::move(unfinished);
  file.created_ = true;
  absl::Status inspected = file.Inspect(/*for_writing=*/true);
  if (!inspected.ok()) return inspected;
  return file;
}

absl::Status LocalFile::Replace() {
  if (path_.empty()) return Close();
  if (fdatasync(fd_) != 0) {
    return FileError(errno, absl::StrCat("cannot write ", name_));
  }
  absl::Status closed = Close();
  if (!closed.ok()) return closed;
  if (rename(path_.c_str(), name_.c_str()) != 0) {
    return FileError(errno,
                     absl::StrCat("cannot give ", path_, " the name ", name_));
  }
  created_ = false;
  return absl::OkStatus();
}

absl::Status LocalFile::Inspect(bool for_writing) {
  struct stat info;
  if (fstat(fd_, &info) != 0) {
    return FileError(errno, absl::StrCat("cannot stat ", name_));
  }
  if (S_ISDIR(info.st_mode)) {
    return FileError(EISDIR, absl::StrCat("cannot use ", name_));
  }
  const off_t here = lseek(fd_, 0, SEEK_CUR);
  if (here < 0) return absl::OkStatus();  // A pipe.
  base_offset_ = here;
  if (for_writing) {
    // Data that is already there would show through holes, and a file that is
    // open for appending ignores offsets. Such a file is written in order, as a
    // pipe is.
    random_access_ = S_ISREG(info.st_mode) && info.st_size <= here &&
                     (fcntl(fd_, F_GETFL) & O_APPEND) == 0;
    return absl::OkStatus();
  }
  if (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode)) {
    return absl::OkStatus();
  }
  random_access_ = true;
  absl::StatusOr<int64_t> size = CurrentSize();
  if (!size.ok()) return size.status();
  size_bytes_ = *size;
  return absl::OkStatus();
}

absl::StatusOr<int64_t> LocalFile::CurrentSize() const {
  // Unlike st_size, this works for block devices, too.
  const off_t end = lseek(fd_, 0, SEEK_END);
  if (end < 0) {
    return FileError(errno, absl::StrCat("cannot find the size of ", name_));
  }
  return std::max<int64_t>(end - base_offset_, 0);
}

absl::StatusOr<LocalFile::Run> LocalFile::NextData(int64_t offset) const {
  const Run none = {.offset = size_bytes_, .length = 0};
  if (offset >= size_bytes_) return none;
  const off_t data = lseek(fd_, base_offset_ + offset, SEEK_DATA);
  if (data < 0 && errno == ENXIO) return none;
  if (data < 0 && errno == EINVAL) {
    return Run{.offset = offset, .length = size_bytes_ - offset};
  }
  const off_t hole = data < 0 ? data : lseek(fd_, data, SEEK_HOLE);
  // ENXIO: another program truncated the file between the two calls.
  if (hole < 0 && errno == ENXIO) return none;
  if (hole < 0) {
    return FileError(errno, absl::StrCat("cannot find the data of ", name_,
                                         " from offset ", offset, " on"));
  }
  const int64_t begin = data - base_offset_;
  const int64_t end = std::min<int64_t>(hole - base_offset_, size_bytes_);
  if (begin >= end) return none;
  return Run{.offset = begin, .length = end - begin};
}

absl::StatusOr<size_t> LocalFile::ReadAt(int64_t offset,
                                         absl::Span<char> out) const {
  size_t filled = 0;
  while (filled < out.size()) {
    const ssize_t got = pread(fd_, out.data() + filled, out.size() - filled,
                              base_offset_ + offset + filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return FileError(errno, absl::StrCat("cannot read ", name_, " at offset ",
                                           offset + filled));
    }
    if (got == 0) break;
    filled += got;
  }
  return filled;
}

absl::Status LocalFile::WaitReadable() const {
  pollfd waiting = {.fd = fd_, .events = POLLIN, .revents = 0};
  while (!interrupted_->load()) {
    const int ready = poll(&waiting, 1, kPollMs);
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) {
      return FileError(errno, absl::StrCat("cannot wait for ", name_));
    }
  }
  return InterruptedError();
}

absl::StatusOr<std::string> LocalFile::Peek(size_t max) {
  std::string head(max, '\0');
  absl::StatusOr<size_t> got = random_access_ ? ReadAt(0, absl::MakeSpan(head))
                                              : ReadHere(absl::MakeSpan(head));
  if (!got.ok()) return got.status();
  head.resize(*got);
  if (!random_access_) {
    peeked_ = head;
    position_ = 0;
  }
  return head;
}

absl::StatusOr<size_t> LocalFile::Read(absl::Span<char> out) {
  const size_t kept = std::min(peeked_.size(), out.size());
  std::copy_n(peeked_.begin(), kept, out.begin());
  peeked_.erase(0, kept);
  position_ += static_cast<int64_t>(kept);
  absl::StatusOr<size_t> got = ReadHere(out.subspan(kept));
  if (!got.ok()) return got.status();
  return kept + *got;
}

absl::StatusOr<size_t> LocalFile::ReadHere(absl::Span<char> out) {
  size_t filled = 0;
  while (filled < out.size()) {
    absl::Status waited = WaitReadable();
    if (!waited.ok()) return waited;
    const ssize_t got = read(fd_, out.data() + filled, out.size() - filled);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) {
      return FileError(errno,
                       absl::StrCat("cannot read ", name_, " at offset ",
                                    position_ + static_cast<int64_t>(filled)));
    }
    if (got == 0) break;
    filled += got;
  }
  position_ += filled;
  return filled;
}

absl::Status LocalFile::WriteAt(int64_t offset, std::string_view data) const {
  while (!data.empty()) {
    const ssize_t written =
        pwrite(fd_, data.data(), data.size(), base_offset_ + offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      return FileError(
          errno, absl::StrCat("cannot write ", name_, " at offset ", offset));
    }
    data.remove_prefix(written);
    offset += written;
  }
  return absl::OkStatus();
}

absl::Status LocalFile::Write(std::string_view data) {
  while (!data.empty()) {
    if (interrupted_->load()) return InterruptedError();
    const ssize_t written = write(fd_, data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      return FileError(errno, absl::StrCat("cannot write ", name_,
                                           " at offset ", position_));
    }
    data.remove_prefix(written);
    position_ += written;
  }
  return absl::OkStatus();
}

absl::Status LocalFile::Truncate(int64_t size_bytes) const {
  int result;
  do {
    result = ftruncate(fd_, base_offset_ + size_bytes);
  } while (result != 0 && errno == EINTR);
  if (result == 0) {
    // Other programs may go on writing to standard output. They must write
    // behind our data, not over it.
    lseek(fd_, base_offset_ + size_bytes, SEEK_SET);
    return absl::OkStatus();
  }
  return FileError(errno, absl::StrCat("cannot make ", name_, " ", size_bytes,
                                       " bytes long"));
}

absl::Status LocalFile::Close() {
  if (!owned_ || fd_ < 0) return absl::OkStatus();
  // Linux closes the descriptor even if close fails, with EINTR, too.
  if (close(std::exchange(fd_, -1)) == 0 || errno == EINTR) {
    return absl::OkStatus();
  }
  return FileError(errno, absl::StrCat("cannot finish writing ", name_));
}

bool LocalFile::RemoveIfCreated() {
  const std::string& path = path_.empty() ? name_ : path_;
  return std::exchange(created_, false) && unlink(path.c_str()) == 0;
}

}  // namespace ramvol::cli
