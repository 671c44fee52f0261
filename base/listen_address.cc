#include "base/listen_address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace ramvol {
namespace {

constexpr int kMaxPort = 65535;
constexpr size_t kMaxUnixPathBytes = sizeof(sockaddr_un::sun_path) - 1;

absl::Status BadAddress(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is no address to listen on: ", why,
                   "; write HOST:PORT, [IPV6]:PORT or unix:PATH"));
}

absl::StatusOr<ListenAddress> ParseUnix(absl::string_view text,
                                        absl::string_view path) {
  // unix:///path is the same as unix:/path.
  absl::ConsumePrefix(&path, "//");
  if (path.empty()) return BadAddress(text, "the path is empty");
  if (path.size() > kMaxUnixPathBytes) {
    return BadAddress(text, absl::StrCat("the path has ", path.size(),
                                         " bytes, and a Unix socket's has at "
                                         "most ",
                                         kMaxUnixPathBytes));
  }
  ListenAddress address;
  address.unix_path = std::string(path);
  return address;
}

sockaddr_un UnixSockaddr(const std::string& path) {
  sockaddr_un addr{};
  addr.sun_family = AF_UNIX;
  std::memcpy(addr.sun_path, path.data(), path.size());
  return addr;
}

absl::Status CannotListen(const ListenAddress& address, absl::string_view why) {
  return absl::UnavailableError(
      absl::StrCat("cannot listen on ", address.ToString(), ": ", why));
}

// Binds and listens for a moment. "" when that works, else the reason.
std::string TryToListen(const sockaddr* addr, socklen_t bytes) {
  const int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return std::strerror(errno);
  const auto close_fd = absl::MakeCleanup([fd] { close(fd); });
  // As gRPC does. With SO_REUSEADDR, bind succeeds beside another listener and
  // only listen fails.
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd, addr, bytes) != 0) return std::strerror(errno);
  if (listen(fd, 1) != 0) return std::strerror(errno);
  return "";
}

absl::Status CheckTcp(const ListenAddress& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(
      address.host.c_str(), absl::StrCat(address.port).c_str(), &hints, &found);
  if (error != 0) return CannotListen(address, gai_strerror(error));
  const auto free_found = absl::MakeCleanup([found] { freeaddrinfo(found); });
  // Like gRPC, succeeds when one of the host's addresses works.
  std::string why;
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    why = TryToListen(info->ai_addr, info->ai_addrlen);
    if (why.empty()) return absl::OkStatus();
  }
  return CannotListen(address, why);
}

// "" when nobody listens on the socket any more, else why it has to stay.
std::string WhyInUse(const sockaddr_un& addr) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return std::strerror(errno);
  const auto close_fd = absl::MakeCleanup([fd] { close(fd); });
  const auto* generic = reinterpret_cast<const sockaddr*>(&addr);
  if (connect(fd, generic, sizeof(addr)) == 0) {
    return "another process listens on it";
  }
  return errno == ECONNREFUSED ? "" : std::strerror(errno);
}

absl::Status RemoveStaleSocket(const ListenAddress& address,
                               const sockaddr_un& addr) {
  struct stat file{};
  if (lstat(addr.sun_path, &file) != 0) return absl::OkStatus();
  if (!S_ISSOCK(file.st_mode)) {
    return CannotListen(address,
                        "the file exists and is no socket; move it away");
  }
  const std::string in_use = WhyInUse(addr);
  if (!in_use.empty()) return CannotListen(address, in_use);
  if (unlink(addr.sun_path) == 0) return absl::OkStatus();
  return CannotListen(address,
                      absl::StrCat("its stale socket file cannot be removed: ",
                                   std::strerror(errno)));
}

absl::Status CheckUnix(const ListenAddress& address) {
  const sockaddr_un addr = UnixSockaddr(address.unix_path);
  absl::Status status = RemoveStaleSocket(address, addr);
  if (!status.ok()) return status;
  const std::string why =
      TryToListen(reinterpret_cast<const sockaddr*>(&addr), sizeof(addr));
  if (!why.empty()) return CannotListen(address, why);
  unlink(addr.sun_path);
  return absl::OkStatus();
}

}  // namespace

std::string ListenAddress::ToString() const {
  if (is_unix()) return absl::StrCat("unix:", unix_path);
  const bool ipv6 = absl::StrContains(host, ":");
  return ipv6 ? absl::StrCat("[", host, "]:", port)
              : absl::StrCat(host, ":", port);
}

absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text) {
  const absl::string_view whole(text.data(), text.size());
  absl::string_view rest = whole;
  if (absl::ConsumePrefix(&rest, "unix:")) return ParseUnix(whole, rest);

  const size_t colon = rest.rfind(':');
  if (colon == absl::string_view::npos) {
    return BadAddress(whole, "there is no port");
  }
  absl::string_view host = rest.substr(0, colon);
  ListenAddress address;
  if (!absl::SimpleAtoi(rest.substr(colon + 1), &address.port) ||
      address.port < 0 || address.port > kMaxPort) {
    return BadAddress(whole, "the port is not 0 to 65535");
  }
  const bool brackets =
      absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]");
  if (host.empty()) {
    return BadAddress(whole, "there is no host (0.0.0.0 and [::] mean all)");
  }
  if (!brackets && absl::StrContains(host, ":")) {
    return BadAddress(whole, "an IPv6 address stands in brackets");
  }
  address.host = std::string(host);
  return address;
}

absl::StatusOr<std::vector<ListenAddress>> ParseListenAddresses(
    std::string_view text) {
  std::vector<ListenAddress> addresses;
  for (const absl::string_view part :
       absl::StrSplit(absl::string_view(text.data(), text.size()), ',')) {
    auto address = ParseListenAddress({part.data(), part.size()});
    if (!address.ok()) return address.status();
    addresses.push_back(*std::move(address));
  }
  if (addresses.size() > kMaxListenAddresses) {
    return absl::InvalidArgumentError(absl::StrCat(
        "there are ", addresses.size(),
        " addresses to listen on; give at most ", kMaxListenAddresses));
  }
  return addresses;
}

absl::Status CheckListenable(const ListenAddress& address) {
  return address.is_unix() ? CheckUnix(address) : CheckTcp(address);
}

}  // namespace ramvol
