// Serves volumes and snapshots to virtual machines by vhost-user.
#ifndef RAMVOL_VHOST_USER_VHOST_SERVER_H_
#define RAMVOL_VHOST_USER_VHOST_SERVER_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/block/exports.h"
#include "base/client_memory.h"
#include "vhost_user/stats.h"

namespace ramvol::vhost {

// Each volume and snapshot has a socket DIR/NAME.sock, of which one thread
// waits for all. Each connection is a device of its own. A volume that can be
// written has one at a time: another one waits for a moment, in which a virtual
// machine that connects again may find that its old connection has ended, and
// is closed then.
//
// Thread-safe, except that Shutdown is called at most once.
class VhostServer {
 public:
  // Devices of `exports` are synchronous, and take buffers that others
  // change meanwhile. UNAVAILABLE when the folder cannot be used. Borrows all.
  static absl::StatusOr<std::unique_ptr<VhostServer>> Start(
      const std::string& dir, block::Exports* exports, ClientMemory* memory,
      VhostStats* stats);
  virtual ~VhostServer() = default;

  // Makes a socket for each of the exports. Those that cannot be made are in
  // the log, here and below. Errors of Exports::List.
  virtual absl::Status AddAll() = 0;
  // What happened to volumes and snapshots. These make and remove sockets
  // before they return, take no lock that outlives them, log nothing and never
  // call the exports, so that they may be called with locks held.
  virtual void Added(std::string_view name) = 0;
  // A connection ends.
  virtual void Removed(std::string_view name) = 0;
  // A connection goes on.
  virtual void Renamed(std::string_view old_name, std::string_view name) = 0;
  // Its size may be another one. The guest is told soon.
  virtual void Changed(std::string_view name) = 0;

  // Removes the sockets and ends all connections, after the requests under way;
  // what guests have not been answered, another server may. Returns when all
  // have ended.
  virtual void Shutdown() = 0;

  virtual const std::string& dir() const = 0;
};

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_VHOST_SERVER_H_
