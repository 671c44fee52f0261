#include "server/engine/metrics/engine_metrics.h"

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "base/metrics/family.h"
#include "base/metrics/process_memory.h"
#include "prometheus/metric_type.h"
#include "server/engine/volume.h"

namespace ramvol::metrics {
namespace {

using engine::EngineStats;
using prometheus::MetricFamily;
using prometheus::MetricType;

void AddMemory(const EngineStats& stats, std::vector<MetricFamily>& families) {
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
  families.push_back(
      Gauge("ramvol_memory_shared_bytes",
            "Of the allocated memory, what volumes and snapshots "
            "share, counted once.",
            stats.shared_bytes));
  families.push_back(Gauge("ramvol_memory_resident_bytes",
                           "Resident size of the process.", ResidentBytes()));
}

void AddHotCache(const EngineStats& stats,
                 std::vector<MetricFamily>& families) {
  families.push_back(Gauge("ramvol_hot_cache_limit_bytes",
                           "Most bytes of uncompressed blocks in the hot "
                           "cache.",
                           stats.hot_cache_limit_bytes));
  families.push_back(Gauge("ramvol_hot_cache_bytes",
                           "Uncompressed blocks held in the hot cache.",
                           stats.hot_cache_bytes));
  families.push_back(Gauge("ramvol_hot_cache_dirty_bytes",
                           "Of these, blocks that are still to be compressed.",
                           stats.hot_cache_dirty_bytes));
  families.push_back(Counter("ramvol_hot_cache_hits_total",
                             "Blocks that reads found in the hot cache.",
                             stats.hot_cache_hits));
  families.push_back(Counter("ramvol_hot_cache_misses_total",
                             "Blocks that reads did not find there.",
                             stats.hot_cache_misses));
  families.push_back(Counter("ramvol_hot_cache_evictions_total",
                             "Blocks that left the hot cache to make room.",
                             stats.hot_cache_evictions));
  families.push_back(Counter("ramvol_throttled_writes_total",
                             "Writes that had to compress a chunk themselves, "
                             "since too much was dirty.",
                             stats.throttled_writes));
}

void AddFrames(const EngineStats& stats, std::vector<MetricFamily>& families) {
  MetricFamily recompressed =
      Family("ramvol_recompressed_frames_total",
             "Frames that background work replaced: merged into larger ones, "
             "split, or rewritten without what was overwritten or trimmed.",
             MetricType::Counter);
  AddCounter(recompressed, {{"kind", "merged"}}, stats.merged_frames);
  AddCounter(recompressed, {{"kind", "split"}}, stats.split_frames);
  AddCounter(recompressed, {{"kind", "rewritten"}}, stats.rewritten_frames);
  families.push_back(std::move(recompressed));
  families.push_back(Counter("ramvol_corrupt_frames_total",
                             "Frames that failed their checksum: data loss.",
                             stats.corrupt_frames));
}

void AddDurations(const EngineStats& stats,
                  std::vector<MetricFamily>& families) {
  MetricFamily operations =
      Family("ramvol_operation_duration_seconds",
             "Time in the engine, whatever protocol a request came by.",
             MetricType::Histogram);
  for (size_t i = 0; i < engine::kOperations; ++i) {
    AddHistogram(operations, {{"op", engine::kOperationNames[i]}},
                 stats.operations[i]);
  }
  families.push_back(std::move(operations));
  MetricFamily codec = Family("ramvol_codec_duration_seconds",
                              "Time to compress or decompress one frame.",
                              MetricType::Histogram);
  AddHistogram(codec, {{"direction", "compress"}}, stats.compressions);
  AddHistogram(codec, {{"direction", "decompress"}}, stats.decompressions);
  families.push_back(std::move(codec));
}

void AddSharing(const EngineStats& stats, std::vector<MetricFamily>& families) {
  families.push_back(Counter("ramvol_copied_nodes_total",
                             "Index nodes that were shared when a change came, "
                             "and so were copied.",
                             stats.copied_nodes));
  MetricFamily pauses =
      Family("ramvol_pause_duration_seconds",
             "How long snapshots, clones and reverts held up writers.",
             MetricType::Histogram);
  AddHistogram(pauses, {}, stats.pauses);
  families.push_back(std::move(pauses));
}

// Of what the last server left in the --state_dir.
void AddRecovery(const engine::Engine& engine,
                 std::vector<MetricFamily>& families) {
  const engine::Engine::Recovered& recovered = engine.recovered();
  uint64_t damaged = 0;
  for (const std::string& name : recovered.damaged) {
    const auto volume = engine.Find(name);
    if (volume.ok() && (*volume)->damaged()) ++damaged;
  }
  families.push_back(Gauge("ramvol_volumes_recovered",
                           "Volumes and snapshots of an earlier server that "
                           "this one found when it started.",
                           recovered.volumes));
  families.push_back(Gauge("ramvol_volumes_damaged",
                           "Of these, those that were damaged and are not "
                           "deleted yet.",
                           damaged));
  MetricFamily took =
      Gauge("ramvol_recovery_seconds", "How long that took.", 0);
  took.metric[0].gauge.value = absl::ToDoubleSeconds(recovered.took);
  families.push_back(std::move(took));
}

}  // namespace

std::vector<MetricFamily> EngineMetrics::Collect() const {
  const EngineStats stats = engine_->Stats();
  std::vector<MetricFamily> families;
  AddMemory(stats, families);
  families.push_back(
      Gauge("ramvol_volumes", "Volumes that there are.", stats.volumes));
  families.push_back(
      Gauge("ramvol_snapshots", "Snapshots that there are.", stats.snapshots));
  AddRecovery(*engine_, families);
  AddHotCache(stats, families);
  AddFrames(stats, families);
  AddSharing(stats, families);
  AddDurations(stats, families);
  return families;
}

}  // namespace ramvol::metrics
