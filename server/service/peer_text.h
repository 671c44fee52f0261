// gRPC's names of peers, in the notation that people use.
#ifndef RAMVOL_SERVER_SERVICE_PEER_TEXT_H_
#define RAMVOL_SERVER_SERVICE_PEER_TEXT_H_

#include <string>
#include <string_view>

namespace ramvol::service {

// "10.0.0.1:4711" for "ipv4:10.0.0.1:4711", "[::1]:4711" for
// "ipv6:%5B::1%5D:4711", "unix" for any Unix socket. Anything else stays as it
// is.
std::string PeerText(std::string_view grpc_peer);

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_PEER_TEXT_H_
