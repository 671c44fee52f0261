#include "client/attach/nbd_connection.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/file_error.h"
#include "base/reason.h"
#include "client/attach/nbd_endpoint.h"
#include "client/attach/nbd_handshake.h"

namespace ramvol {
namespace {

// These notice within 25 s that an idle connection's peer has vanished.
constexpr int kKeepaliveIdleSeconds = 10;
constexpr int kKeepaliveIntervalSeconds = 5;
constexpr int kKeepaliveProbes = 3;

absl::Status ConnectError(int error, const NbdEndpoint& endpoint) {
  // The error of a socket's own timeout.
  if (error == EINPROGRESS || error == EAGAIN) error = ETIMEDOUT;
  if (error == EINTR) return InterruptedError();
  return FileError(error, absl::StrCat("cannot connect to the NBD server at ",
                                       endpoint.ToString()));
}

// 0 means no timeout.
void SetTimeouts(int fd, absl::Duration timeout) {
  const timeval value = absl::ToTimeval(timeout);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &value, sizeof(value));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &value, sizeof(value));
}

void SetNumber(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof(value));
}

// Ignores errors: the connection works without these options.
void TuneTcp(int fd) {
  SetNumber(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  SetNumber(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetNumber(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepaliveIdleSeconds);
  SetNumber(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepaliveIntervalSeconds);
  SetNumber(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepaliveProbes);
}

// Returns an errno value and leaves the socket in `*fd`.
int ConnectTo(const sockaddr* address, socklen_t length, absl::Duration timeout,
              int* fd) {
  *fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (*fd < 0) return errno;
  SetTimeouts(*fd, timeout);
  if (connect(*fd, address, length) == 0) return 0;
  const int error = errno;
  close(*fd);
  return error;
}

absl::StatusOr<int> ConnectUnix(const NbdEndpoint& endpoint,
                                absl::Duration timeout) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (endpoint.unix_path.size() >= sizeof(address.sun_path)) {
    return ConnectError(ENAMETOOLONG, endpoint);
  }
  memcpy(address.sun_path, endpoint.unix_path.data(),
         endpoint.unix_path.size());
  int fd = -1;
  const int error = ConnectTo(reinterpret_cast<const sockaddr*>(&address),
                              sizeof(address), timeout, &fd);
  if (error != 0) return ConnectError(error, endpoint);
  return fd;
}

absl::StatusOr<int> ConnectTcp(const NbdEndpoint& endpoint,
                               absl::Duration timeout) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int result =
      getaddrinfo(endpoint.host.c_str(), absl::StrCat(endpoint.port).c_str(),
                  &hints, &list);
  if (result != 0) {
    return WithReason(absl::UnavailableError(absl::StrCat(
                          "cannot resolve the NBD server's host \"",
                          endpoint.host, "\": ", gai_strerror(result))),
                      "NBD_UNREACHABLE");
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list,
                                                                 freeaddrinfo);
  int error = EADDRNOTAVAIL;
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    int fd = -1;
    error = ConnectTo(one->ai_addr, one->ai_addrlen, timeout, &fd);
    if (error == 0) {
      TuneTcp(fd);
      return fd;
    }
    if (error == EINTR) break;
  }
  return ConnectError(error, endpoint);
}

}  // namespace

absl::StatusOr<NbdConnection> NbdConnection::Open(const NbdEndpoint& endpoint,
                                                  const std::string& name,
                                                  absl::Duration timeout) {
  absl::StatusOr<int> fd = endpoint.is_unix() ? ConnectUnix(endpoint, timeout)
                                              : ConnectTcp(endpoint, timeout);
  if (!fd.ok()) return fd.status();
  NbdConnection connection(*fd, NbdExport());
  absl::StatusOr<NbdExport> description = NegotiateNbd(*fd, name);
  if (!description.ok()) return description.status();
  connection.export_ = *description;
  // The kernel would take a timeout for a broken connection.
  SetTimeouts(*fd, absl::ZeroDuration());
  return connection;
}

NbdConnection::NbdConnection(NbdConnection&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), export_(other.export_) {}

NbdConnection::~NbdConnection() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace ramvol
