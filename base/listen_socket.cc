#include "base/listen_socket.h"

#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/systemd.h"

namespace ramvol {
namespace {

using Sockets = std::vector<ListenSocket>;

absl::Status CannotListen(const std::string& name, absl::string_view why) {
  return absl::UnavailableError(
      absl::StrCat("cannot listen on ", name, ": ", why));
}

// A listening descriptor, or the negative errno.
int Bind(const sockaddr* addr, socklen_t bytes) {
  const int fd =
      socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  if (addr->sa_family != AF_UNIX) {
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  }
  if (bind(fd, addr, bytes) == 0 && listen(fd, SOMAXCONN) == 0) return fd;
  const int error = errno;
  close(fd);
  return -error;
}

int PortOf(int fd) {
  sockaddr_storage bound{};
  socklen_t bytes = sizeof(bound);
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &bytes);
  // sin_port and sin6_port are at the same offset.
  return ntohs(reinterpret_cast<const sockaddr_in*>(&bound)->sin_port);
}

absl::StatusOr<Sockets> ListenTcp(ListenAddress address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string wanted = address.ToString();
  const int error = getaddrinfo(
      address.host.c_str(), absl::StrCat(address.port).c_str(), &hints, &found);
  if (error != 0) return CannotListen(wanted, gai_strerror(error));
  const auto free_found = absl::MakeCleanup([found] { freeaddrinfo(found); });
  Sockets sockets;
  int why = 0;
  for (addrinfo* info = found; info != nullptr; info = info->ai_next) {
    reinterpret_cast<sockaddr_in*>(info->ai_addr)->sin_port =
        htons(static_cast<uint16_t>(address.port));
    const int fd = Bind(info->ai_addr, info->ai_addrlen);
    if (fd < 0) {
      why = -fd;
      continue;
    }
    // The other addresses of the host get the port that the first one got.
    address.port = PortOf(fd);
    sockets.emplace_back(fd, sockets.empty() ? address.ToString() : "", "");
  }
  if (sockets.empty()) return CannotListen(wanted, std::strerror(why));
  return sockets;
}

absl::StatusOr<Sockets> ListenUnix(const ListenAddress& address) {
  // Removes the file of a server that is gone.
  absl::Status status = CheckListenable(address);
  if (!status.ok()) return status;
  sockaddr_un addr{};
  addr.sun_family = AF_UNIX;
  std::memcpy(addr.sun_path, address.unix_path.data(),
              address.unix_path.size());
  const int fd = Bind(reinterpret_cast<sockaddr*>(&addr), sizeof(addr));
  if (fd < 0) return CannotListen(address.ToString(), std::strerror(-fd));
  Sockets sockets;
  sockets.emplace_back(fd, address.ToString(), address.unix_path);
  return sockets;
}

}  // namespace

ListenSocket::ListenSocket(ListenSocket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      name_(std::move(other.name_)),
      unix_path_(std::exchange(other.unix_path_, "")) {}

ListenSocket::~ListenSocket() {
  if (!unix_path_.empty()) unlink(unix_path_.c_str());
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<Sockets> ListenOn(const ListenAddress& address) {
  return address.is_unix() ? ListenUnix(address) : ListenTcp(address);
}

absl::StatusOr<Sockets> ListenOnVsock(uint32_t port) {
  sockaddr_vm addr{};
  addr.svm_family = AF_VSOCK;
  addr.svm_cid = VMADDR_CID_ANY;
  addr.svm_port = port == 0 ? VMADDR_PORT_ANY : port;
  const int fd = Bind(reinterpret_cast<sockaddr*>(&addr), sizeof(addr));
  if (fd < 0) {
    return CannotListen(absl::StrCat("vsock:", port), std::strerror(-fd));
  }
  socklen_t bytes = sizeof(addr);
  getsockname(fd, reinterpret_cast<sockaddr*>(&addr), &bytes);
  Sockets sockets;
  sockets.emplace_back(fd, absl::StrCat("vsock:", addr.svm_port), "");
  return sockets;
}

absl::StatusOr<Sockets> TakeSystemdSockets(const std::vector<int>& fds) {
  Sockets sockets;
  // Own all of them first: if one fails, the others must be closed, too.
  for (const int fd : fds) sockets.emplace_back(fd, SocketAddress(fd), "");
  for (const int fd : fds) {
    absl::Status status = PrepareSystemdSocket(fd);
    if (!status.ok()) return status;
  }
  return sockets;
}

}  // namespace ramvol
