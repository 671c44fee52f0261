// The client of a gRPC call, as its connection told.
#ifndef RAMVOL_BASE_CALL_PEER_H_
#define RAMVOL_BASE_CALL_PEER_H_

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/peer_names.h"

namespace ramvol {

// What is known of a connection from its beginning on.
struct CallPeer {
  // See PeerAddress.
  std::string address;
  // What TLS proved; empty without it.
  PeerNames names;
  // Of a Unix socket, the client's user and group as the kernel tells them.
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_CALL_PEER_H_
