#include "server/service/peer_text.h"

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/peer.h"

namespace ramvol::service {

std::string PeerText(std::string_view grpc_peer) {
  const std::string_view named = WithoutNumber(grpc_peer);
  absl::string_view peer(named.data(), named.size());
  if (absl::StartsWith(peer, "unix")) return "unix";
  if (!absl::ConsumePrefix(&peer, "ipv4:")) absl::ConsumePrefix(&peer, "ipv6:");
  // gRPC percent-encodes the "%" of a scope, too: "fe80::1%25eth0".
  return absl::StrReplaceAll(peer, {{"%5B", "["}, {"%5D", "]"}, {"%25", "%"}});
}

}  // namespace ramvol::service
