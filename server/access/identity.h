// Who a client is.
#ifndef RAMVOL_SERVER_ACCESS_IDENTITY_H_
#define RAMVOL_SERVER_ACCESS_IDENTITY_H_

#include <optional>
#include <string>
#include <vector>

#include "base/call_peer.h"
#include "base/peer_names.h"
#include "base/token.h"

namespace ramvol::access {

// Whatever may be granted to a client, such as "uri:spiffe://example.org/a",
// "dns:a.example", "cn:a", "psk:a", "token:ci", "unix:1000", "group:6",
// "socket:/run/ramvol.sock". Users and groups are numbers here. Everyone is
// "anonymous" beside that, which is not in here.
struct Identity {
  std::vector<std::string> names;
  // What "token:" stands for here: the token must go on being known.
  std::optional<TokenDigest> token = std::nullopt;

  bool anonymous() const { return names.empty(); }
  // For people: the names with spaces between them, or "anonymous".
  std::string Text() const;
};

// The names of whoever is at the other end of a connection.
std::vector<std::string> NamesOf(const CallPeer& peer);
// Those that TLS proved alone.
std::vector<std::string> NamesOf(const PeerNames& names);

// For people: "unix:root" for "unix:0". Other names, and those of numbers that
// are nobody's, stay as they are. May ask a directory service.
std::string ForPeople(const std::string& name);

}  // namespace ramvol::access

#endif  // RAMVOL_SERVER_ACCESS_IDENTITY_H_
