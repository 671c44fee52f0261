#include "server/metrics/engine_metrics.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "server/metrics/family.h"
#include "server/metrics/process_memory.h"

namespace ramvol::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// Volumes asked of the engine at a time.
constexpr size_t kVolumesPerPage = 1000;

double ToDouble(uint64_t value) { return static_cast<double>(value); }

// One gauge for each volume.
class VolumeGauge {
 public:
  VolumeGauge(const char* name, const char* help)
      : family_(Family(name, help, MetricType::Gauge)) {}

  void Add(const std::string& volume, uint64_t value) {
    ClientMetric& metric = family_.metric.emplace_back();
    metric.label.push_back({"volume", volume});
    metric.gauge.value = ToDouble(value);
  }
  MetricFamily Take() && { return std::move(family_); }

 private:
  MetricFamily family_;
};

}  // namespace

EngineMetrics::EngineMetrics(const engine::Engine* engine) : engine_(engine) {}

std::vector<MetricFamily> EngineMetrics::Collect() const {
  VolumeGauge size("ramvol_volume_size_bytes", "Size of the volume.");
  VolumeGauge logical("ramvol_volume_logical_bytes",
                      "Bytes of the volume that are not holes.");
  VolumeGauge stored("ramvol_volume_stored_bytes",
                     "Bytes that the content takes, compressed.");
  VolumeGauge memory("ramvol_volume_memory_bytes",
                     "Memory that the volume takes, all overhead counted.");
  std::vector<std::pair<uint64_t, CacheCounts>> counts;
  std::string after;
  while (counts.size() < kMaxVolumes) {
    const auto volumes = engine_->List(after, kVolumesPerPage);
    if (volumes.empty()) break;
    for (const auto& volume : volumes) {
      const engine::VolumeStats stats = volume->Stats();
      size.Add(volume->name(), stats.size_bytes);
      logical.Add(volume->name(), stats.logical_bytes);
      stored.Add(volume->name(), stats.stored_bytes);
      memory.Add(volume->name(), stats.memory_bytes);
      counts.emplace_back(volume->uid(),
                          CacheCounts{stats.cache_hits, stats.cache_misses});
    }
    after = volumes.back()->name();
  }
  const CacheCounts cache = UpdateCacheCounts(counts);
  const engine::EngineStats stats = engine_->Stats();

  std::vector<MetricFamily> families;
  families.push_back(BuildInfo());
  families.push_back(Gauge("ramvol_memory_limit_bytes",
                           "Most memory that the volumes may take.",
                           stats.memory_limit_bytes));
  families.push_back(Gauge("ramvol_memory_used_bytes",
                           "Memory counted against the limit.",
                           stats.memory_used_bytes));
  families.push_back(Gauge("ramvol_memory_allocated_bytes",
                           "Of the used memory, what is in live objects and "
                           "reservations.",
                           stats.memory_allocated_bytes));
  families.push_back(Gauge("ramvol_memory_resident_bytes",
                           "Resident size of the process.", ResidentBytes()));
  families.push_back(
      Gauge("ramvol_volumes", "Volumes that there are.", stats.volumes));
  families.push_back(Gauge("ramvol_hot_cache_bytes",
                           "Uncompressed blocks held in the hot cache.",
                           stats.hot_cache_bytes));
  families.push_back(Counter("ramvol_hot_cache_hits_total",
                             "Blocks that reads found in the hot cache.",
                             cache.hits));
  families.push_back(Counter("ramvol_hot_cache_misses_total",
                             "Blocks that reads did not find there.",
                             cache.misses));
  families.push_back(Counter("ramvol_hot_cache_evictions_total",
                             "Blocks that left the hot cache to make room.",
                             stats.hot_cache_evictions));
  families.push_back(std::move(size).Take());
  families.push_back(std::move(logical).Take());
  families.push_back(std::move(stored).Take());
  families.push_back(std::move(memory).Take());
  return families;
}

EngineMetrics::CacheCounts EngineMetrics::UpdateCacheCounts(
    const std::vector<std::pair<uint64_t, CacheCounts>>& volumes) const {
  MutexLock lock(&mu_);
  absl::flat_hash_map<uint64_t, CacheCounts> now;
  for (const auto& [uid, counts] : volumes) {
    const CacheCounts& before = last_[uid];
    // Two scrapes at a time may come here in the other order.
    if (counts.hits > before.hits) total_.hits += counts.hits - before.hits;
    if (counts.misses > before.misses) {
      total_.misses += counts.misses - before.misses;
    }
    now[uid] = {std::max(counts.hits, before.hits),
                std::max(counts.misses, before.misses)};
  }
  last_ = std::move(now);
  return total_;
}

}  // namespace ramvol::metrics
