#include "base/peer.h"

#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace ramvol {
namespace {

std::string PeerOfIpv4(const in_addr& address) {
  char text[INET_ADDRSTRLEN];
  return inet_ntop(AF_INET, &address, text, sizeof(text));
}

std::string PeerOfIpv6(in6_addr address) {
  // An IPv4 client of a dual-stack listener. It must not get a second share.
  if (IN6_IS_ADDR_V4MAPPED(&address)) {
    in_addr ipv4{};
    std::memcpy(&ipv4, &address.s6_addr[12], sizeof(ipv4));
    return PeerOfIpv4(ipv4);
  }
  std::fill(&address.s6_addr[8], &address.s6_addr[16], uint8_t{0});
  char text[INET6_ADDRSTRLEN];
  inet_ntop(AF_INET6, &address, text, sizeof(text));
  return absl::StrCat(text, "/64");
}

}  // namespace

std::string PeerOf(const sockaddr_storage& address) {
  switch (address.ss_family) {
    case AF_INET:
      return PeerOfIpv4(reinterpret_cast<const sockaddr_in&>(address).sin_addr);
    case AF_INET6:
      return PeerOfIpv6(
          reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
    case AF_VSOCK:
      return absl::StrCat(
          "vsock:", reinterpret_cast<const sockaddr_vm&>(address).svm_cid);
    default:
      return "";
  }
}

std::string PeerOf(int fd) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof(address);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) {
    return "";
  }
  return PeerOf(address);
}

std::string PeerOf(std::string_view grpc_peer) {
  const std::string_view named = WithoutNumber(grpc_peer);
  absl::string_view text(named.data(), named.size());
  text = text.substr(0, text.rfind(':'));  // The port.
  if (text.empty() || absl::StartsWith(text, "unix")) return "";
  absl::ConsumePrefix(&text, "ipv6:");
  absl::ConsumePrefix(&text, "ipv4:");
  // gRPC percent-encodes the brackets.
  std::string host = absl::StrReplaceAll(
      text, {{"%5B", ""}, {"%5D", ""}, {"[", ""}, {"]", ""}});
  host.resize(std::min(host.find('%'), host.size()));  // The zone ID.
  in_addr ipv4{};
  if (inet_pton(AF_INET, host.c_str(), &ipv4) == 1) return host;
  in6_addr ipv6{};
  if (inet_pton(AF_INET6, host.c_str(), &ipv6) == 1) return PeerOfIpv6(ipv6);
  return "";
}

std::string_view WithoutNumber(std::string_view grpc_peer) {
  constexpr std::string_view kPrefix = "unix:/";
  if (grpc_peer.substr(0, kPrefix.size()) != kPrefix) return grpc_peer;
  const std::string_view rest = grpc_peer.substr(kPrefix.size());
  const size_t digits = rest.find_first_not_of("0123456789");
  if (digits == 0 || digits == std::string_view::npos || rest[digits] != '/') {
    return grpc_peer;
  }
  return rest.substr(digits + 1);
}

}  // namespace ramvol
