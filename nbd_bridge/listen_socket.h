// Sockets that listen.
#ifndef RAMVOL_NBD_BRIDGE_LISTEN_SOCKET_H_
#define RAMVOL_NBD_BRIDGE_LISTEN_SOCKET_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nbd_bridge/nbd_address.h"

namespace ramvol::nbd {

// Owns a descriptor, and the Unix socket's file.
class ListenSocket {
 public:
  ListenSocket(int fd, std::string name, std::string unix_path)
      : fd_(fd), name_(std::move(name)), unix_path_(std::move(unix_path)) {}
  ListenSocket(ListenSocket&& other);
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

// UNAVAILABLE names the address and the reason. A host with several addresses
// gets several sockets, all with the same port. For kSystemd, takes over what
// `systemd_sockets` has; none is INVALID_ARGUMENT.
absl::StatusOr<std::vector<ListenSocket>> Listen(
    const NbdAddress& address, const std::vector<int>& systemd_sockets);

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_LISTEN_SOCKET_H_
