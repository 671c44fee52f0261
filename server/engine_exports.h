// Offers the engine's volumes and snapshots to servers of NBD and vhost-user.
#ifndef RAMVOL_SERVER_ENGINE_EXPORTS_H_
#define RAMVOL_SERVER_ENGINE_EXPORTS_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/block/exports.h"
#include "base/block/limited_device.h"
#include "base/usage_limiter.h"
#include "server/engine/engine.h"
#include "server/service/call_access.h"
#include "server/service/catalog.h"

namespace ramvol::server {

// Each volume is an export of the same name, and each snapshot one of "@" and
// its name. Thread-safe.
class EngineExports final : public block::Exports {
 public:
  // Borrows `engine` and `catalog`, which knows whose snapshots are whose. They
  // must outlive this and the devices.
  EngineExports(engine::Engine* engine, const service::Catalog* catalog)
      : EngineExports(engine, catalog, {.over = kNbd}) {}

  static constexpr char kNbd[] = "nbd";
  struct Options {
    const char* over;  // The way in, as clients are listed.
    // Others than the caller may change buffers while a device has them.
    bool shared_buffers = false;
  };
  EngineExports(engine::Engine* engine, const service::Catalog* catalog,
                Options options)
      : engine_(*engine), catalog_(*catalog), options_(options) {}

  // Who may see what; borrowed. Call it before there are clients. Without it
  // everyone may do everything.
  void set_access(const service::CallAccess* access) { access_ = access; }
  // Where operations run that limits held up.
  void set_runner(block::LimitedDevice::Runner run) { run_ = std::move(run); }

  std::unique_ptr<block::Exports> For(block::Peer peer) override;
  absl::StatusOr<block::ExportPage> List(const std::string& from) override;
  absl::StatusOr<block::ExportInfo> Find(std::string_view name) override;
  absl::StatusOr<std::vector<std::string>> ListSnapshots(std::string_view name,
                                                         size_t max) override;
  absl::StatusOr<std::unique_ptr<block::BlockDevice>> Open(
      std::string_view name, std::string_view client) override;

 private:
  class Own;

  engine::BufferOf buffers() const {
    return options_.shared_buffers ? engine::BufferOf::kOthers
                                   : engine::BufferOf::kCaller;
  }
  // Holds the client of `device` to the limits of `volume` and `identity`.
  absl::StatusOr<std::unique_ptr<block::BlockDevice>> Limit(
      std::shared_ptr<UsageLimiter> identity,
      const std::shared_ptr<UsageLimiter>& volume, std::string_view name,
      std::unique_ptr<block::BlockDevice> device) const;

  engine::Engine& engine_;
  const service::Catalog& catalog_;
  const Options options_;
  const service::CallAccess* access_ = nullptr;
  block::LimitedDevice::Runner run_ = [](bool, auto call) { call(); };
};

}  // namespace ramvol::server

#endif  // RAMVOL_SERVER_ENGINE_EXPORTS_H_
