// Tells when memory limits are near.
#ifndef RAMVOL_SERVER_SERVICE_LIMIT_WATCH_H_
#define RAMVOL_SERVER_SERVICE_LIMIT_WATCH_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "server/engine/engine.h"

namespace ramvol::service {

// Logs memory_low when kLowPercent of the server's limit, or of a volume's own,
// are taken, and again only after it was less than kAgainPercent.
//
// Not thread-safe.
class LimitWatch {
 public:
  static constexpr uint64_t kLowPercent = 90;
  static constexpr uint64_t kAgainPercent = 85;
  // How many volumes a call of Look looks at. All get their turn.
  static constexpr size_t kVolumesAtOnce = 1000;

  // Borrows `engine`, which must outlive this.
  explicit LimitWatch(const engine::Engine* engine) : engine_(*engine) {}

  // Call it every second.
  void Look();

 private:
  void LookAtVolumes();

  const engine::Engine& engine_;
  bool low_ = false;
  std::string after_;  // Where the volumes go on.
  // Volumes that were low in the last round, and in this one so far.
  absl::flat_hash_set<uint64_t> low_before_;
  absl::flat_hash_set<uint64_t> low_now_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_LIMIT_WATCH_H_
