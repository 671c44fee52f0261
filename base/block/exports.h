// The volumes and snapshots that a server of NBD and the like offers, by name.
// "@" begins a snapshot's.
#ifndef RAMVOL_BASE_BLOCK_EXPORTS_H_
#define RAMVOL_BASE_BLOCK_EXPORTS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/block/block_device.h"
#include "base/peer_names.h"

namespace ramvol::block {

struct ExportInfo {
  std::string name;
  uint64_t size_bytes = 0;
  bool read_only = false;
  std::string uid = {};  // Unlike the name, it is never another's.
};

// A client of such a server.
struct Peer {
  int fd = -1;  // Its socket, open while the client's exports live.
  std::string address;
  // What it has proved by TLS so far. Null: nothing.
  std::function<const PeerNames&()> proven;
  // Ends its connection, if it is still there. Any thread may call it.
  std::function<void()> end;
};

struct ExportPage {
  std::vector<ExportInfo> exports;
  std::string next;  // Empty when there are no more.
};

// Thread-safe. A call may take a round trip to another server.
class Exports {
 public:
  virtual ~Exports() = default;

  // Those that `peer` may see. Null: all of these. Borrows this.
  // NOLINTNEXTLINE(performance-unnecessary-value-param): others keep it.
  virtual std::unique_ptr<Exports> For(Peer /*peer*/) { return nullptr; }

  // Some volumes or snapshots, all volumes before all snapshots, each sorted by
  // name: the first ones, or those from a page's `next` on; at most 1000, since
  // a connection holds them outside of any bound.
  virtual absl::StatusOr<ExportPage> List(const std::string& from) = 0;
  // NOT_FOUND when there is no volume of this name, PERMISSION_DENIED when the
  // client may see it and not read it.
  virtual absl::StatusOr<ExportInfo> Find(std::string_view name) = 0;
  // Up to `max` snapshots of the volume `name`, or for a snapshot the others of
  // its volume, sorted by name and without "@". NOT_FOUND as Find.
  virtual absl::StatusOr<std::vector<std::string>> ListSnapshots(
      std::string_view /*name*/, size_t /*max*/) {
    return std::vector<std::string>();
  }
  // Opens the volume for the client at address `client`. The volume counts as
  // attached while the device lives. NOT_FOUND when there is none.
  virtual absl::StatusOr<std::unique_ptr<BlockDevice>> Open(
      std::string_view name, std::string_view client) = 0;
};

}  // namespace ramvol::block

#endif  // RAMVOL_BASE_BLOCK_EXPORTS_H_
