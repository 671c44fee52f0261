// A directory and its files, for data that has to outlive a crash.
#ifndef RAMVOL_SERVER_SAVES_DIRECTORY_H_
#define RAMVOL_SERVER_SAVES_DIRECTORY_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/file_descriptor.h"

namespace ramvol::saves {

// For tests: called before each system call that changes the disk. Returns the
// errno with which it is to fail, or 0.
using DiskHook = std::function<int()>;

// A new file that is written in order. Whole blocks of zeroes become holes. The
// disk gets the data as it comes, so that no more than twice kWindowBytes waits
// for it in memory, and Finish is short. Movable, not thread-safe.
class NewFile {
 public:
  static constexpr uint64_t kWindowBytes = uint64_t{16} << 20;

  NewFile(FileDescriptor fd, std::string path, DiskHook hook)
      : fd_(std::move(fd)), path_(std::move(path)), hook_(std::move(hook)) {}

  absl::Status Write(std::string_view data);
  // Everything is on the disk afterwards, and no longer in its cache.
  absl::Status Finish();
  uint64_t size_bytes() const { return size_bytes_; }

 private:
  absl::Status WriteAll(std::string_view data, uint64_t offset);
  // Begins to put the last window on the disk, and waits for the one before.
  absl::Status PushWindow();
  int BeforeChange() const { return hook_ == nullptr ? 0 : hook_(); }

  FileDescriptor fd_;
  const std::string path_;
  const DiskHook hook_;
  uint64_t size_bytes_ = 0;
  uint64_t pushed_bytes_ = 0;
};

// A file that is read in order. Movable, not thread-safe.
class OldFile {
 public:
  OldFile(FileDescriptor fd, std::string path)
      : fd_(std::move(fd)), path_(std::move(path)) {}

  // Fills `out` or, at the end, less of it. Returns how many bytes it read.
  absl::StatusOr<size_t> Read(absl::Span<char> out);
  // The same at any place, which does not change where Read goes on.
  absl::StatusOr<size_t> ReadAt(uint64_t offset, absl::Span<char> out) const;

 private:
  FileDescriptor fd_;
  const std::string path_;
  uint64_t offset_ = 0;
};

// An open directory. All names are of files directly below it. Errors are
// FileError's, and name the path. Movable, thread-safe but for that.
class Directory {
 public:
  // Makes it, if the directory above is there.
  static absl::StatusOr<Directory> Open(const std::string& path,
                                        DiskHook hook = nullptr);

  const std::string& path() const { return path_; }

  // LockFile. The lock goes with this.
  absl::StatusOr<bool> Lock();
  absl::StatusOr<std::vector<std::string>> List() const;
  // Replaces what has the name.
  absl::StatusOr<NewFile> Create(const std::string& name) const;
  absl::StatusOr<OldFile> OpenFile(const std::string& name) const;
  absl::StatusOr<Directory> OpenBelow(const std::string& name) const;
  absl::Status MakeBelow(const std::string& name) const;
  absl::Status Rename(const std::string& from, const std::string& to) const;
  absl::Status Remove(const std::string& name) const;
  // Removes the directory `name` and the files in it. OK if there is none.
  absl::Status RemoveBelow(const std::string& name) const;
  absl::Status Sync() const;

 private:
  Directory(FileDescriptor fd, std::string path, DiskHook hook)
      : fd_(std::move(fd)), path_(std::move(path)), hook_(std::move(hook)) {}

  std::string Path(const std::string& name) const { return path_ + "/" + name; }
  int BeforeChange() const { return hook_ == nullptr ? 0 : hook_(); }

  FileDescriptor fd_;
  std::string path_;
  DiskHook hook_;
};

}  // namespace ramvol::saves

#endif  // RAMVOL_SERVER_SAVES_DIRECTORY_H_
