// The address at the other end of a connection, for people.
#ifndef RAMVOL_BASE_PEER_ADDRESS_H_
#define RAMVOL_BASE_PEER_ADDRESS_H_

#include <string>

namespace ramvol {

// For a connected socket: "127.0.0.1:40112", "[::1]:40112", "vsock:3:1024", or
// "unix (process 4711)" ("unix" when the kernel does not tell the process).
// "unknown" when the socket is not connected.
std::string PeerAddress(int fd);

}  // namespace ramvol

#endif  // RAMVOL_BASE_PEER_ADDRESS_H_
