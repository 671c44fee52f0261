// Ends gRPC's connections by shutting down their sockets.
#ifndef RAMVOL_SERVER_END_CONNECTIONS_H_
#define RAMVOL_SERVER_END_CONNECTIONS_H_

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace ramvol::server {

// Waits until `goodbye` for clients that are connected to `addresses` (in the
// form of SocketAddress) to leave. Then shuts down the remaining sockets.
//
// gRPC 1.51 answers calls that arrive during its shutdown with CANCELLED, as if
// their clients had cancelled them. If the connection ends before, the client
// sees UNAVAILABLE and may try again (docs/decisions/0035).
void EndConnections(const std::vector<std::string>& addresses,
                    absl::Time goodbye);

}  // namespace ramvol::server

#endif  // RAMVOL_SERVER_END_CONNECTIONS_H_
