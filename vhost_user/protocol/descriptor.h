// An owned file descriptor.
#ifndef RAMVOL_VHOST_USER_PROTOCOL_DESCRIPTOR_H_
#define RAMVOL_VHOST_USER_PROTOCOL_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace ramvol::vhost {

// Closes what it owns. -1: nothing.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }

  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  void Reset() { Descriptor gone(std::exchange(fd_, -1)); }

 private:
  int fd_ = -1;
};

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_PROTOCOL_DESCRIPTOR_H_
