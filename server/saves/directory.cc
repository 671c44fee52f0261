#include "server/saves/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file_error.h"
#include "base/file_lock.h"

namespace ramvol::saves {
namespace {

// What a file system allocates at least.
constexpr size_t kHoleBytes = 4096;

bool IsZero(std::string_view data) {
  return data.find_first_not_of('\0') == std::string_view::npos;
}

// The next part of `data` that is all written, or all left out. Parts end at
// multiples of kHoleBytes of the file.
size_t NextPart(std::string_view data, uint64_t offset, bool* zero) {
  size_t end = 0;
  while (end < data.size()) {
    const size_t block =
        std::min(kHoleBytes - (offset + end) % kHoleBytes, data.size() - end);
    const bool is_hole = block == kHoleBytes && IsZero(data.substr(end, block));
    if (end == 0) *zero = is_hole;
    if (is_hole != *zero) break;
    end += block;
  }
  return end;
}

}  // namespace

// --- NewFile ---

absl::Status NewFile::Write(std::string_view data) {
  while (!data.empty()) {
    bool zero = false;
    const size_t part = NextPart(data, size_bytes_, &zero);
    if (!zero) {
      absl::Status status = WriteAll(data.substr(0, part), size_bytes_);
      if (!status.ok()) return status;
    }
    size_bytes_ += part;
    data.remove_prefix(part);
    while (size_bytes_ - pushed_bytes_ >= kWindowBytes) {
      absl::Status status = PushWindow();
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status NewFile::PushWindow() {
  const auto begin = static_cast<off_t>(pushed_bytes_);
  pushed_bytes_ += kWindowBytes;
  int result =
      sync_file_range(fd_.get(), begin, kWindowBytes, SYNC_FILE_RANGE_WRITE);
  if (result == 0 && begin > 0) {
    const auto before = begin - static_cast<off_t>(kWindowBytes);
    result =
        sync_file_range(fd_.get(), before, kWindowBytes,
                        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                            SYNC_FILE_RANGE_WAIT_AFTER);
    (void)posix_fadvise(fd_.get(), before, kWindowBytes, POSIX_FADV_DONTNEED);
  }
  // Where a file system has no such thing, Finish does it all.
  if (result == 0 || errno == ENOSYS || errno == EINVAL || errno == ESPIPE) {
    return absl::OkStatus();
  }
  return FileError(errno, absl::StrCat("cannot write to ", path_));
}

absl::Status NewFile::WriteAll(std::string_view data, uint64_t offset) {
  while (!data.empty()) {
    int error = BeforeChange();
    ssize_t written = -1;
    if (error == 0) {
      written = pwrite(fd_.get(), data.data(), data.size(),
                       static_cast<off_t>(offset));
      error = written < 0 ? errno : 0;
    }
    if (error == EINTR) continue;
    if (error != 0) {
      return FileError(error, absl::StrCat("cannot write to ", path_));
    }
    data.remove_prefix(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return absl::OkStatus();
}

absl::Status NewFile::Finish() {
  int error = BeforeChange();
  if (error == 0 &&
      (ftruncate(fd_.get(), static_cast<off_t>(size_bytes_)) != 0 ||
       fsync(fd_.get()) != 0)) {
    error = errno;
  }
  if (error != 0) {
    return FileError(error, absl::StrCat("cannot write all of ", path_));
  }
  // It would only take other files' place.
  (void)posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
  return absl::OkStatus();
}

// --- OldFile ---

absl::StatusOr<size_t> OldFile::ReadAt(uint64_t offset,
                                       absl::Span<char> out) const {
  size_t filled = 0;
  while (filled < out.size()) {
    const ssize_t got =
        pread(fd_.get(), out.data() + filled, out.size() - filled,
              static_cast<off_t>(offset + filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(errno, absl::StrCat("cannot read ", path_));
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  return filled;
}

absl::StatusOr<size_t> OldFile::Read(absl::Span<char> out) {
  const auto got = ReadAt(offset_, out);
  if (!got.ok()) return got;
  offset_ += *got;
  (void)posix_fadvise(fd_.get(), 0, static_cast<off_t>(offset_),
                      POSIX_FADV_DONTNEED);
  return got;
}

// --- Directory ---

absl::StatusOr<Directory> Directory::Open(const std::string& path,
                                          DiskHook hook) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return FileError(errno, absl::StrCat("cannot make directory ", path));
  }
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_open()) {
    return FileError(errno, absl::StrCat("cannot open directory ", path));
  }
  return Directory(std::move(fd), path, std::move(hook));
}

absl::StatusOr<bool> Directory::Lock() { return LockFile(fd_, path_); }

absl::StatusOr<std::vector<std::string>> Directory::List() const {
  // A description of its own, so that it begins at the beginning.
  const int fd = openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(
      fd < 0 ? nullptr : fdopendir(fd), &closedir);
  if (dir == nullptr) {
    return FileError(errno, absl::StrCat("cannot list directory ", path_));
  }
  std::vector<std::string> names;
  while (const dirent* entry = readdir(dir.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<NewFile> Directory::Create(const std::string& name) const {
  int error = BeforeChange();
  FileDescriptor fd;
  if (error == 0) {
    fd = FileDescriptor(openat(fd_.get(), name.c_str(),
                               O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    error = fd.is_open() ? 0 : errno;
  }
  if (error != 0) {
    return FileError(error, absl::StrCat("cannot create ", Path(name)));
  }
  return NewFile(std::move(fd), Path(name), hook_);
}

absl::StatusOr<OldFile> Directory::OpenFile(const std::string& name) const {
  FileDescriptor fd(
      openat(fd_.get(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.is_open()) {
    return FileError(errno, absl::StrCat("cannot open ", Path(name)));
  }
  (void)posix_fadvise(fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  return OldFile(std::move(fd), Path(name));
}

absl::StatusOr<Directory> Directory::OpenBelow(const std::string& name) const {
  FileDescriptor fd(openat(fd_.get(), name.c_str(),
                           O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.is_open()) {
    return FileError(errno, absl::StrCat("cannot open directory ", Path(name)));
  }
  return Directory(std::move(fd), Path(name), hook_);
}

absl::Status Directory::MakeBelow(const std::string& name) const {
  int error = BeforeChange();
  if (error == 0 && mkdirat(fd_.get(), name.c_str(), 0700) != 0) error = errno;
  if (error == 0) return absl::OkStatus();
  return FileError(error, absl::StrCat("cannot make directory ", Path(name)));
}

absl::Status Directory::Rename(const std::string& from,
                               const std::string& to) const {
  int error = BeforeChange();
  if (error == 0 &&
      renameat(fd_.get(), from.c_str(), fd_.get(), to.c_str()) != 0) {
    error = errno;
  }
  if (error == 0) return absl::OkStatus();
  return FileError(
      error, absl::StrCat("cannot rename ", Path(from), " to ", Path(to)));
}

absl::Status Directory::Remove(const std::string& name) const {
  int error = BeforeChange();
  if (error == 0 && unlinkat(fd_.get(), name.c_str(), 0) != 0) error = errno;
  if (error == 0) return absl::OkStatus();
  return FileError(error, absl::StrCat("cannot remove ", Path(name)));
}

absl::Status Directory::RemoveBelow(const std::string& name) const {
  const auto below = OpenBelow(name);
  if (!below.ok()) {
    const bool none =
        faccessat(fd_.get(), name.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) != 0 &&
        errno == ENOENT;
    return none ? absl::OkStatus() : below.status();
  }
  const auto files = below->List();
  if (!files.ok()) return files.status();
  for (const std::string& file : *files) {
    absl::Status removed = below->Remove(file);
    if (!removed.ok()) return removed;
  }
  int error = BeforeChange();
  if (error == 0 && unlinkat(fd_.get(), name.c_str(), AT_REMOVEDIR) != 0) {
    error = errno;
  }
  if (error == 0) return absl::OkStatus();
  return FileError(error, absl::StrCat("cannot remove ", Path(name)));
}

absl::Status Directory::Sync() const {
  int error = BeforeChange();
  if (error == 0 && fsync(fd_.get()) != 0) error = errno;
  if (error == 0) return absl::OkStatus();
  return FileError(error, absl::StrCat("cannot sync directory ", path_));
}

}  // namespace ramvol::saves
