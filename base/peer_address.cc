#include "base/peer_address.h"

#include <linux/vm_sockets.h>
#include <netdb.h>
#include <sys/socket.h>

#include "absl/strings/str_cat.h"

namespace ramvol {
namespace {

constexpr char kUnknown[] = "unknown";

std::string UnixPeer(int fd) {
  ucred credentials{};
  socklen_t bytes = sizeof(credentials);
  const bool known =
      getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) == 0 &&
      credentials.pid > 0;
  return known ? absl::StrCat("unix (process ", credentials.pid, ")") : "unix";
}

std::string TcpPeer(const sockaddr_storage& address, socklen_t bytes) {
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (getnameinfo(reinterpret_cast<const sockaddr*>(&address), bytes, host,
                  sizeof(host), port, sizeof(port),
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return kUnknown;
  }
  return address.ss_family == AF_INET6 ? absl::StrCat("[", host, "]:", port)
                                       : absl::StrCat(host, ":", port);
}

}  // namespace

std::string PeerAddress(int fd) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof(address);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) {
    return kUnknown;
  }
  if (address.ss_family == AF_UNIX) return UnixPeer(fd);
  if (address.ss_family == AF_VSOCK) {
    const auto& vsock = reinterpret_cast<const sockaddr_vm&>(address);
    return absl::StrCat("vsock:", vsock.svm_cid, ":", vsock.svm_port);
  }
  return TcpPeer(address, bytes);
}

}  // namespace ramvol
