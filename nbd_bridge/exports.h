// The volumes that an NBD server offers, by name.
#ifndef RAMVOL_NBD_BRIDGE_EXPORTS_H_
#define RAMVOL_NBD_BRIDGE_EXPORTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nbd_bridge/block_device.h"

namespace ramvol::nbd {

struct ExportInfo {
  std::string name;
  uint64_t size_bytes = 0;
  bool read_only = false;
};

// Thread-safe. A call may take a round trip to another server.
class Exports {
 public:
  virtual ~Exports() = default;

  // All volumes at the moment, sorted by name.
  virtual absl::StatusOr<std::vector<ExportInfo>> List() = 0;
  // NOT_FOUND when there is no volume of this name.
  virtual absl::StatusOr<ExportInfo> Find(std::string_view name) = 0;
  // Opens the volume for the client at address `client`. The volume counts as
  // attached while the device lives. NOT_FOUND when there is none.
  virtual absl::StatusOr<std::unique_ptr<BlockDevice>> Open(
      std::string_view name, std::string_view client) = 0;
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_EXPORTS_H_
