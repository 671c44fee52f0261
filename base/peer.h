// The machine at the other end of a connection, for fair sharing.
#ifndef RAMVOL_BASE_PEER_H_
#define RAMVOL_BASE_PEER_H_

#include <sys/socket.h>

#include <string>
#include <string_view>

namespace ramvol {

// The machine of an address: "10.0.0.1" or "vsock:3". For IPv6 the /64, since
// one machine usually has a whole one: "2001:db8::/64". "" when unknown and for
// Unix sockets: the mode of the socket's file says who may connect.
std::string PeerOf(const sockaddr_storage& address);
// The peer of a connected socket.
std::string PeerOf(int fd);
// From gRPC's notation: "ipv4:10.0.0.1:4711", "ipv6:%5B::1%5D:4711", "unix:",
// or with a connection's number "unix:/1/10.0.0.1:4711", "unix:/1/unix".
std::string PeerOf(std::string_view grpc_peer);
// "unix:/1/10.0.0.1:4711" is "10.0.0.1:4711". Others stay as they are.
std::string_view WithoutNumber(std::string_view grpc_peer);

}  // namespace ramvol

#endif  // RAMVOL_BASE_PEER_H_
