// gRPC's names for peers as people write them.
#ifndef RAMVOL_SERVER_SERVICE_PEER_TEXT_H_
#define RAMVOL_SERVER_SERVICE_PEER_TEXT_H_

#include <string>
#include <string_view>

namespace ramvol::service {

// "10.0.0.1:4711" for "ipv4:10.0.0.1:4711", "[::1]:4711" for
// "ipv6:%5B::1%5D:4711", "unix" for any Unix socket; what is unknown stays.
std::string PeerText(std::string_view grpc_peer);

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_PEER_TEXT_H_
