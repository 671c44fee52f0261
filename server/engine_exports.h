// Offers the engine's volumes to an NBD server.
#ifndef RAMVOL_SERVER_ENGINE_EXPORTS_H_
#define RAMVOL_SERVER_ENGINE_EXPORTS_H_

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "nbd_bridge/exports.h"
#include "server/engine/engine.h"

namespace ramvol::server {

// Each volume is an export of the same name. Thread-safe.
class EngineExports final : public nbd::Exports {
 public:
  // Borrows `engine`, which must outlive this and the devices.
  explicit EngineExports(engine::Engine* engine) : engine_(*engine) {}

  absl::StatusOr<nbd::ExportPage> List(const std::string& from) override;
  absl::StatusOr<nbd::ExportInfo> Find(std::string_view name) override;
  absl::StatusOr<std::unique_ptr<nbd::BlockDevice>> Open(
      std::string_view name, std::string_view client) override;

 private:
  engine::Engine& engine_;
};

}  // namespace ramvol::server

#endif  // RAMVOL_SERVER_ENGINE_EXPORTS_H_
