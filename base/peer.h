// Who is at the other end of a connection, for sharing what there is.
#ifndef RAMVOL_BASE_PEER_H_
#define RAMVOL_BASE_PEER_H_

#include <sys/socket.h>

#include <string>
#include <string_view>

namespace ramvol {

// The machine that an address belongs to: "10.0.0.1"; of IPv6 the /64, for a
// machine has a whole one: "2001:db8::/64"; "vsock:3". "" for Unix sockets,
// whose files' modes say who may connect, and where nobody knows.
std::string PeerOf(const sockaddr_storage& address);
// Of a socket that is connected.
std::string PeerOf(int fd);
// The same by what gRPC calls a peer: "ipv4:10.0.0.1:4711",
// "ipv6:%5B::1%5D:4711", "unix:".
std::string PeerOf(std::string_view grpc_peer);

}  // namespace ramvol

#endif  // RAMVOL_BASE_PEER_H_
