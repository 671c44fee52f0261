#include "base/systemd.h"

#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace ramvol {
namespace {

// SD_LISTEN_FDS_START: the first descriptor that systemd passes.
constexpr int kFirstSystemdSocket = 3;
constexpr int kMaxSystemdSockets = 64;

absl::Status CannotListen(int fd, absl::string_view why) {
  return absl::UnavailableError(
      absl::StrCat("cannot listen on descriptor ", fd, ": ", why));
}

std::string TcpAddress(const sockaddr_storage& address, socklen_t bytes) {
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (getnameinfo(reinterpret_cast<const sockaddr*>(&address), bytes, host,
                  sizeof(host), port, sizeof(port),
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "systemd";
  }
  return address.ss_family == AF_INET6 ? absl::StrCat("[", host, "]:", port)
                                       : absl::StrCat(host, ":", port);
}

}  // namespace

std::vector<SystemdSocket> SystemdSockets(const char* pid, const char* fds,
                                          const char* names) {
  int for_pid = 0;
  int count = 0;
  // A child inherits the variables, but the sockets are not meant for it:
  // sd_listen_fds(3).
  if (pid == nullptr || fds == nullptr || !absl::SimpleAtoi(pid, &for_pid) ||
      !absl::SimpleAtoi(fds, &count) || for_pid != getpid() ||
      count > kMaxSystemdSockets) {
    return {};
  }
  const std::vector<std::string> all_names =
      absl::StrSplit(names == nullptr ? "" : names, ':');
  std::vector<SystemdSocket> sockets;
  for (int i = 0; i < count; ++i) {
    SystemdSocket& socket = sockets.emplace_back();
    socket.fd = kFirstSystemdSocket + i;
    if (static_cast<size_t>(i) < all_names.size()) socket.name = all_names[i];
  }
  return sockets;
}

absl::Status PrepareSystemdSocket(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
      fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
    return CannotListen(fd, std::strerror(errno));
  }
  int listens = 0;
  socklen_t bytes = sizeof(listens);
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes) != 0 ||
      listens == 0) {
    return CannotListen(fd,
                        "it is not a listening socket; the systemd .socket "
                        "unit must say Accept=no");
  }
  return absl::OkStatus();
}

std::string SocketAddress(int fd) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) {
    return "systemd";
  }
  if (address.ss_family == AF_UNIX) {
    const auto& unix_address = reinterpret_cast<const sockaddr_un&>(address);
    // Neither abstract sockets nor unnamed ones have a path.
    if (unix_address.sun_path[0] == '\0') return "systemd";
    return absl::StrCat("unix:", unix_address.sun_path);
  }
  if (address.ss_family == AF_VSOCK) {
    const auto& vsock = reinterpret_cast<const sockaddr_vm&>(address);
    return absl::StrCat("vsock:", vsock.svm_port);
  }
  return TcpAddress(address, bytes);
}

absl::Status NotifySystemd(std::string_view socket_name,
                           std::string_view state) {
  if (socket_name.empty()) return absl::OkStatus();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_name.size() >= sizeof(address.sun_path)) {
    return absl::UnavailableError("NOTIFY_SOCKET is too long");
  }
  std::memcpy(address.sun_path, socket_name.data(), socket_name.size());
  // An abstract socket: unix(7). Its length must not include a final NUL.
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return absl::UnavailableError(
        absl::StrCat("NOTIFY_SOCKET: ", std::strerror(errno)));
  }
  const auto close_fd = absl::MakeCleanup([fd] { close(fd); });
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) +
                                            socket_name.size());
  if (sendto(fd, state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
             reinterpret_cast<const sockaddr*>(&address), bytes) < 0) {
    return absl::UnavailableError(
        absl::StrCat("NOTIFY_SOCKET: ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

bool IsJournal(const char* journal_stream, int fd) {
  struct stat file{};
  if (journal_stream == nullptr || fstat(fd, &file) != 0) return false;
  return journal_stream == absl::StrCat(file.st_dev, ":", file.st_ino);
}

}  // namespace ramvol
