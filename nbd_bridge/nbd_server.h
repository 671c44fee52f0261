// Listens for NBD clients and serves them.
#ifndef RAMVOL_NBD_BRIDGE_NBD_SERVER_H_
#define RAMVOL_NBD_BRIDGE_NBD_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/client_memory.h"
#include "nbd_bridge/exports.h"
#include "nbd_bridge/nbd_address.h"
#include "nbd_bridge/stats.h"

namespace ramvol::nbd {

struct NbdServerOptions {
  // At least one.
  std::vector<NbdAddress> listen;
  // Sockets that listen already, for NbdAddress::kSystemd; are closed at the
  // end.
  std::vector<int> systemd_sockets;
  // The volume that the empty name means; "" for none.
  std::string default_export;
  // All exports are read-only.
  bool read_only = false;
  // Further clients wait to be accepted, as they do when the client memory has
  // no room for them. 1 to 65536. By peer FairShare decides.
  int max_connections = 4096;
};

// Serves from Start to its end. Thread-safe, except that Shutdown is called at
// most once.
class NbdServer {
 public:
  // Returns when all addresses are bound. UNAVAILABLE, naming the address and
  // the reason, when one cannot be; INVALID_ARGUMENT for the options. Borrows
  // `exports`, `memory` and `stats`, which must outlive it.
  static absl::StatusOr<std::unique_ptr<NbdServer>> Start(
      const NbdServerOptions& options, Exports* exports, ClientMemory* memory,
      NbdStats* stats);
  virtual ~NbdServer() = default;

  // Accepts nothing more, answers what is under way, refuses what comes later
  // with ESHUTDOWN, and closes all connections, at the latest after
  // `drain_timeout`. Returns when all is over. Calls of devices that do not
  // return are waited for.
  virtual void Shutdown(absl::Duration drain_timeout) = 0;

  // The addresses as they were bound, no port 0 among them: "unix:/run/n.sock",
  // "127.0.0.1:10809", "vsock:10809".
  virtual const std::vector<std::string>& addresses() const = 0;

  // As Door::WhyShut.
  virtual std::string WhyShut() const = 0;
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_NBD_SERVER_H_
