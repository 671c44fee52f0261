// What the status page shows of a server beside its engine and client memory.
#ifndef RAMVOL_SERVER_STATUS_SERVER_STATE_H_
#define RAMVOL_SERVER_STATUS_SERVER_STATE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace ramvol::status {

struct ServerState {
  // As metrics::Endpoint::Readiness.
  std::string why_not_ready;
  std::vector<std::string> grpc_addresses;
  std::vector<std::string> nbd_addresses;
  uint64_t grpc_connections = 0;
  uint64_t nbd_connections = 0;
  uint64_t vhost_user_connections = 0;
  uint64_t io_streams = 0;

  // Only what occurred. The strings are label values of the metric.
  struct TurnedAway {
    std::string protocol;
    std::string cause;
    uint64_t count = 0;
  };
  std::vector<TurnedAway> turned_away;
};

// Thread-safe.
using StateSource = std::function<ServerState()>;

}  // namespace ramvol::status

#endif  // RAMVOL_SERVER_STATUS_SERVER_STATE_H_
