// Listening sockets.
#ifndef RAMVOL_BASE_LISTEN_SOCKET_H_
#define RAMVOL_BASE_LISTEN_SOCKET_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/listen_address.h"

namespace ramvol {

// Owns a listening descriptor and, for a Unix socket, its file.
class ListenSocket {
 public:
  ListenSocket(int fd, std::string name, std::string unix_path)
      : fd_(fd), name_(std::move(name)), unix_path_(std::move(unix_path)) {}
  ListenSocket(ListenSocket&& other) noexcept;
  ListenSocket& operator=(ListenSocket&&) = delete;
  ~ListenSocket();

  // Non-blocking.
  int fd() const { return fd_; }
  // The address that was bound. "" for the second and later addresses of one
  // host.
  const std::string& name() const { return name_; }

 private:
  int fd_;
  std::string name_;
  std::string unix_path_;
};

// The functions below return UNAVAILABLE, which names the address and the
// reason.

// A host with several addresses gets one socket for each, all with the same
// port. Replaces the file of a Unix socket whose server is gone.
absl::StatusOr<std::vector<ListenSocket>> ListenOn(
    const ListenAddress& address);
// Listens for any context ID. Port 0 takes a free port.
absl::StatusOr<std::vector<ListenSocket>> ListenOnVsock(uint32_t port);
// Takes over sockets that already listen. On an error, all are closed.
absl::StatusOr<std::vector<ListenSocket>> TakeSystemdSockets(
    const std::vector<int>& fds);

}  // namespace ramvol

#endif  // RAMVOL_BASE_LISTEN_SOCKET_H_
