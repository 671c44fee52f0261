// Listens for NBD clients and serves them.
#ifndef RAMVOL_NBD_BRIDGE_NBD_SERVER_H_
#define RAMVOL_NBD_BRIDGE_NBD_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/block/exports.h"
#include "base/client_memory.h"
#include "nbd_bridge/nbd_address.h"
#include "nbd_bridge/nbd_tls.h"
#include "nbd_bridge/stats.h"

namespace ramvol::nbd {

struct NbdServerOptions {
  // At least one.
  std::vector<NbdAddress> listen;
  // Listening sockets for NbdAddress::kSystemd. The server owns them.
  std::vector<int> systemd_sockets;
  // The volume that the empty name stands for; "" for none.
  std::string default_export;
  // All exports are read-only.
  bool read_only = false;
  // 1 to 65536. Further clients wait to be accepted, as they do when the client
  // memory has no room. FairShare divides the places among peers.
  int max_connections = 4096;
  // On all addresses.
  NbdTls tls = {};
  // Unless TLS is required, whether to listen where others than this machine
  // are.
  bool insecure = false;
};

// Serves from Start until Shutdown or destruction. Thread-safe, except that
// Shutdown is called at most once.
class NbdServer {
 public:
  // Returns when all addresses are bound. UNAVAILABLE names the address that
  // cannot be bound and the reason; INVALID_ARGUMENT names a bad option, or
  // comes from RefuseExposed.
  // Borrows `exports`, `memory` and `stats`, which must outlive the server.
  static absl::StatusOr<std::unique_ptr<NbdServer>> Start(
      const NbdServerOptions& options, block::Exports* exports,
      ClientMemory* memory, NbdStats* stats);
  virtual ~NbdServer() = default;

  // Stops accepting, answers requests under way and no later ones, and closes
  // all connections, after `drain_timeout` at the latest.
  // Returns when all sessions have ended; waits for devices' calls however long
  // they take.
  virtual void Shutdown(absl::Duration drain_timeout) = 0;

  // The bound addresses, with real ports in place of port 0:
  // "unix:/run/n.sock", "127.0.0.1:10809", "vsock:10809".
  virtual const std::vector<std::string>& addresses() const = 0;

  // See Door::WhyShut.
  virtual std::string WhyShut() const = 0;
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_NBD_SERVER_H_
