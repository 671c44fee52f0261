// Ends the connections that gRPC holds, from below.
#ifndef RAMVOL_SERVER_END_CONNECTIONS_H_
#define RAMVOL_SERVER_END_CONNECTIONS_H_

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace ramvol::server {

// Waits until `goodbye` for the clients that are connected to one of
// `addresses`, as SocketAddress has them, to leave; then shuts down the sockets
// of those that did not.
//
// gRPC 1.51 tells calls that arrive while it shuts down CANCELLED, as if their
// clients had given them up. Whose connection ends before that sees
// UNAVAILABLE, and may try again.
void EndConnections(const std::vector<std::string>& addresses,
                    absl::Time goodbye);

}  // namespace ramvol::server

#endif  // RAMVOL_SERVER_END_CONNECTIONS_H_
