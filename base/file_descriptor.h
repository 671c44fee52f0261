// An open file that closes itself.
#ifndef RAMVOL_BASE_FILE_DESCRIPTOR_H_
#define RAMVOL_BASE_FILE_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace ramvol {

// Movable; owns the descriptor. -1 is none.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }

  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }

 private:
  int fd_;
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_FILE_DESCRIPTOR_H_
