// Metrics of each snapshot. docs/metrics.md lists them.
#ifndef RAMVOL_SERVER_ENGINE_METRICS_SNAPSHOT_METRICS_H_
#define RAMVOL_SERVER_ENGINE_METRICS_SNAPSHOT_METRICS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/engine/engine.h"
#include "server/engine/metrics/metric_labels.h"

namespace ramvol::metrics {

// What the engine does not know of a snapshot.
struct SnapshotInfo {
  std::string source;          // The volume, as it was called then.
  uint64_t create_time_s = 0;  // Since 1970.
  std::map<std::string, std::string> labels;
};

// Reads the snapshots' memory at scrapes. The first `max_snapshots` by name
// have their own series. The others are added up as snapshot "_other", as old
// as the oldest of them. All series have the chosen labels, as volumes have.
//
// What a snapshot refers to is found by a walk over all of it. So a scrape
// measures that for some milliseconds at most, first what was measured longest
// ago, and shows the rest as it was at an earlier scrape, if ever. Thread-safe.
class SnapshotMetrics final : public prometheus::Collectable {
 public:
  // About a snapshot, by its name without "@"; nullopt if there is none.
  // Thread-safe.
  using InfoSource =
      std::function<std::optional<SnapshotInfo>(const std::string& name)>;
  // Each scrape measures at least one.
  static constexpr int64_t kMeasuringNs = 20'000'000;

  // Borrows `engine`, which must outlive this.
  SnapshotMetrics(const engine::Engine* engine, size_t max_snapshots,
                  std::vector<MetricLabel> labels, InfoSource info_of,
                  int64_t measuring_ns = kMeasuringNs)
      : engine_(engine),
        max_snapshots_(max_snapshots),
        labels_(std::move(labels)),
        info_of_(std::move(info_of)),
        measuring_ns_(measuring_ns) {}

  std::vector<prometheus::MetricFamily> Collect() const override
      ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Memory {
    int64_t measured_ns = 0;  // 0: never.
    uint64_t bytes = 0;
  };

  std::vector<engine::NamedVolume> ListAll() const;
  // What is known of each of `snapshots`, in order.
  std::vector<Memory> Measure(const std::vector<engine::NamedVolume>& snapshots)
      const ABSL_LOCKS_EXCLUDED(mu_);

  const engine::Engine* const engine_;
  const size_t max_snapshots_;
  const std::vector<MetricLabel> labels_;
  const InfoSource info_of_;
  const int64_t measuring_ns_;

  mutable Mutex mu_;
  // By Volume::uid, of the snapshots of the last scrape.
  mutable absl::flat_hash_map<uint64_t, Memory> known_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_SERVER_ENGINE_METRICS_SNAPSHOT_METRICS_H_
