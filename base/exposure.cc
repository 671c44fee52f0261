#include "base/exposure.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/systemd.h"

namespace ramvol {
namespace {

bool IsLoopback(uint32_t ipv4) { return ipv4 >> 24 == IN_LOOPBACKNET; }

bool IsLoopback(const in6_addr& address) {
  if (IN6_IS_ADDR_LOOPBACK(&address)) return true;
  return IN6_IS_ADDR_V4MAPPED(&address) &&
         address.s6_addr[12] == IN_LOOPBACKNET;
}

}  // namespace

bool IsExposed(int fd) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) {
    return true;
  }
  switch (address.ss_family) {
    case AF_UNIX:
      return false;
    case AF_INET:
      return !IsLoopback(
          ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr));
    case AF_INET6:
      return !IsLoopback(
          reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
    default:
      return true;
  }
}

absl::Status RefuseExposed(const std::vector<ListenSocket>& sockets,
                           std::string_view with_tls) {
  for (const ListenSocket& socket : sockets) {
    if (!IsExposed(socket.fd())) continue;
    const std::string address =
        socket.name().empty() ? SocketAddress(socket.fd()) : socket.name();
    return absl::InvalidArgumentError(absl::StrCat(
        "anyone who reaches ", address, " could use it without TLS: ",
        absl::string_view(with_tls.data(), with_tls.size()),
        ", listen on 127.0.0.1 or a Unix socket, or say --insecure if only "
        "those who may can reach it"));
  }
  return absl::OkStatus();
}

}  // namespace ramvol
