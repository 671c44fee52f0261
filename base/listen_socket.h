// Sockets that listen.
#ifndef RAMVOL_BASE_LISTEN_SOCKET_H_
#define RAMVOL_BASE_LISTEN_SOCKET_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/listen_address.h"

namespace ramvol {

// Owns a descriptor, and the Unix socket's file.
class ListenSocket {
 public:
  ListenSocket(int fd, std::string name, std::string unix_path)
      : fd_(fd), name_(std::move(name)), unix_path_(std::move(unix_path)) {}
  ListenSocket(ListenSocket&& other) noexcept;
  ListenSocket& operator=(ListenSocket&&) = delete;
  ~ListenSocket();

  // Does not block.
  int fd() const { return fd_; }
  // As it was bound; "" when it belongs to the one before, as the other
  // addresses of one host do.
  const std::string& name() const { return name_; }

 private:
  int fd_;
  std::string name_;
  std::string unix_path_;
};

// All of them: UNAVAILABLE names the address and the reason.

// A host with several addresses gets several sockets, all with the same port.
// Takes the place of a Unix socket's file whose server is gone.
absl::StatusOr<std::vector<ListenSocket>> ListenOn(
    const ListenAddress& address);
// For any context. Port 0 takes a free one.
absl::StatusOr<std::vector<ListenSocket>> ListenOnVsock(uint32_t port);
// Takes over sockets that listen already; they are closed even if one does not.
absl::StatusOr<std::vector<ListenSocket>> TakeSystemdSockets(
    const std::vector<int>& fds);

}  // namespace ramvol

#endif  // RAMVOL_BASE_LISTEN_SOCKET_H_
