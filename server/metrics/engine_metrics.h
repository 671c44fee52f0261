// The engine's numbers as Prometheus metrics. ARCHITECTURE.md, "Metrics", lists
// them.
#ifndef RAMVOL_SERVER_METRICS_ENGINE_METRICS_H_
#define RAMVOL_SERVER_METRICS_ENGINE_METRICS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "proto/base/mutex.h"
#include "server/engine/engine.h"

namespace ramvol::metrics {

// Reads the engine's statistics whenever Prometheus asks; nothing is recorded
// on the data path. Thread-safe.
class EngineMetrics final : public prometheus::Collectable {
 public:
  // Most volumes that get series of their own, the first in order of names.
  static constexpr size_t kMaxVolumes = 10000;

  // Borrows `engine`, which must outlive this.
  explicit EngineMetrics(const engine::Engine* engine);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  struct CacheCounts {
    uint64_t hits = 0;
    uint64_t misses = 0;
  };

  // The counts of all volumes there ever were. What a volume counts between the
  // last call and its deletion is lost; the sums never go down.
  CacheCounts UpdateCacheCounts(
      const std::vector<std::pair<uint64_t, CacheCounts>>& volumes) const
      ABSL_LOCKS_EXCLUDED(mu_);

  const engine::Engine* const engine_;

  mutable Mutex mu_;
  // By the volume's uid, as of the last call.
  mutable absl::flat_hash_map<uint64_t, CacheCounts> last_ ABSL_GUARDED_BY(mu_);
  mutable CacheCounts total_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_SERVER_METRICS_ENGINE_METRICS_H_
