#include "server/engine/metrics/snapshot_metrics.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/metrics/family.h"
#include "prometheus/metric_type.h"
#include "server/engine/volume.h"

namespace ramvol::metrics {
namespace {

using engine::NamedVolume;
using prometheus::MetricFamily;
using prometheus::MetricType;

// How many snapshots to list at a time.
constexpr size_t kSnapshotsPerPage = 1000;
constexpr std::string_view kOther = "_other";

// Builds the families, snapshot by snapshot.
class Builder {
 public:
  // Borrows `labels`.
  explicit Builder(const std::vector<MetricLabel>* labels) : labels_(labels) {}

  void AddKnown(std::string_view snapshot, const SnapshotInfo& info,
                uint64_t own_bytes) {
    Add(create_time_, snapshot, info, info.create_time_s);
    Add(own_, snapshot, info, own_bytes);
  }
  void AddMemory(std::string_view snapshot, const SnapshotInfo& info,
                 uint64_t bytes) {
    Add(memory_, snapshot, info, bytes);
  }

  std::vector<MetricFamily> Take() {
    return {std::move(memory_), std::move(own_), std::move(create_time_)};
  }

 private:
  void Add(MetricFamily& family, std::string_view snapshot,
           const SnapshotInfo& info, uint64_t value) {
    AddGauge(family, {{"snapshot", snapshot}, {"source", info.source}}, value);
    const auto chosen = ValuesOf(*labels_, info.labels);
    auto& labels = family.metric.back().label;
    labels.insert(labels.end(), chosen.begin(), chosen.end());
  }

  const std::vector<MetricLabel>* const labels_;
  MetricFamily memory_ = Family("ramvol_snapshot_memory_bytes",
                                "Memory that the snapshot refers to, all "
                                "overhead counted.",
                                MetricType::Gauge);
  MetricFamily own_ =
      Family("ramvol_snapshot_own_bytes",
             "Of this memory, what deleting the snapshot would give back.",
             MetricType::Gauge);
  MetricFamily create_time_ =
      Family("ramvol_snapshot_create_time_seconds",
             "When the snapshot was made, since 1970.", MetricType::Gauge);
};

}  // namespace

std::vector<NamedVolume> SnapshotMetrics::ListAll() const {
  std::vector<NamedVolume> all;
  for (;;) {
    auto page =
        engine_->List(all.empty() ? "@" : all.back().name, kSnapshotsPerPage);
    const bool last = page.size() < kSnapshotsPerPage;
    std::move(page.begin(), page.end(), std::back_inserter(all));
    if (last) return all;
  }
}

std::vector<SnapshotMetrics::Memory> SnapshotMetrics::Measure(
    const std::vector<NamedVolume>& snapshots) const {
  MutexLock lock(&mu_);
  std::vector<Memory> found;
  std::vector<size_t> order;
  for (const NamedVolume& snapshot : snapshots) {
    order.push_back(found.size());
    found.push_back(known_[snapshot.volume->uid()]);
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(found[a].measured_ns, a) <
           std::pair(found[b].measured_ns, b);
  });
  const int64_t until_ns = SteadyNowNs() + measuring_ns_;
  for (const size_t i : order) {
    const uint64_t bytes = snapshots[i].volume->Stats().memory_bytes;
    found[i] = {SteadyNowNs(), bytes};
    if (found[i].measured_ns >= until_ns) break;
  }
  known_.clear();
  for (size_t i = 0; i < found.size(); ++i) {
    known_[snapshots[i].volume->uid()] = found[i];
  }
  return found;
}

std::vector<MetricFamily> SnapshotMetrics::Collect() const {
  const std::vector<NamedVolume> snapshots = ListAll();
  const std::vector<Memory> measured = Measure(snapshots);
  Builder builder(&labels_);
  SnapshotInfo other_info;
  other_info.create_time_s = std::numeric_limits<uint64_t>::max();
  uint64_t other_bytes = 0;
  uint64_t other_own_bytes = 0;
  size_t seen = 0;
  for (size_t i = 0; i < snapshots.size(); ++i) {
    const std::string name = snapshots[i].name.substr(1);  // Without "@".
    const std::optional<SnapshotInfo> info = info_of_(name);
    if (!info.has_value()) continue;
    const uint64_t own_bytes = snapshots[i].volume->OwnBytes();
    if (++seen > max_snapshots_) {
      other_info.create_time_s =
          std::min(other_info.create_time_s, info->create_time_s);
      other_bytes += measured[i].bytes;
      other_own_bytes += own_bytes;
      continue;
    }
    builder.AddKnown(name, *info, own_bytes);
    if (measured[i].measured_ns == 0) continue;
    builder.AddMemory(name, *info, measured[i].bytes);
  }
  const size_t beyond = seen > max_snapshots_ ? seen - max_snapshots_ : 0;
  if (beyond > 0) {
    builder.AddKnown(kOther, other_info, other_own_bytes);
    builder.AddMemory(kOther, other_info, other_bytes);
  }
  std::vector<MetricFamily> families = builder.Take();
  families.push_back(Gauge("ramvol_metrics_snapshots_beyond_max",
                           "Snapshots that are counted under \"_other\" only.",
                           beyond));
  return families;
}

}  // namespace ramvol::metrics
