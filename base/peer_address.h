// Who is at the other end of a connection, as people write it.
#ifndef RAMVOL_BASE_PEER_ADDRESS_H_
#define RAMVOL_BASE_PEER_ADDRESS_H_

#include <string>

namespace ramvol {

// Of a connected socket: "127.0.0.1:40112", "[::1]:40112", "vsock:3:1024",
// "unix (process 4711)" where the kernel says whose it is, else "unix";
// "unknown" when it is not connected.
std::string PeerAddress(int fd);

}  // namespace ramvol

#endif  // RAMVOL_BASE_PEER_ADDRESS_H_
