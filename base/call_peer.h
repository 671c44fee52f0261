// The client of a call, as its connection told.
#ifndef RAMVOL_BASE_CALL_PEER_H_
#define RAMVOL_BASE_CALL_PEER_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/peer_names.h"

namespace ramvol {

// What is known of a connection from its beginning on.
struct CallPeer {
  // See PeerAddress.
  std::string address = {};
  // What TLS proved; empty without it.
  PeerNames names = {};
  // Of a Unix socket, the client's user and groups as the kernel tells them,
  // and the path where the server listens.
  std::optional<uid_t> uid = std::nullopt;
  std::vector<gid_t> groups = {};
  std::string socket_path = {};
};

// Of a connected socket, which has no more than a Unix socket's user, groups
// and path. Looks nothing up, and so never waits.
CallPeer PeerOfUnixSocket(int fd);

}  // namespace ramvol

#endif  // RAMVOL_BASE_CALL_PEER_H_
