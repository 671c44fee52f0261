#include "server/engine/metrics/volume_metrics.h"

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/metrics/family.h"
#include "prometheus/client_metric.h"
#include "prometheus/metric_type.h"
#include "server/engine/volume.h"

namespace ramvol::metrics {
namespace {

using engine::VolumeStats;
using prometheus::MetricFamily;
using prometheus::MetricType;

// How many volumes to list at a time.
constexpr size_t kVolumesPerPage = 1000;
constexpr std::string_view kOther = "_other";
constexpr std::array<const char*, engine::kSpans> kSpanNames = {"1", "2", "4",
                                                                "8", "16"};

// A metric that is one number of the statistics.
struct Plain {
  const char* name;
  const char* help;
  MetricType type;
  uint64_t (*get)(const VolumeStats&);
};

constexpr Plain kPlain[] = {
    {"ramvol_volume_size_bytes", "Size of the volume.", MetricType::Gauge,
     [](const VolumeStats& s) { return s.size_bytes; }},
    {"ramvol_volume_logical_bytes", "Bytes of the volume that are not holes.",
     MetricType::Gauge, [](const VolumeStats& s) { return s.logical_bytes; }},
    {"ramvol_volume_stored_bytes", "Bytes that the content takes, compressed.",
     MetricType::Gauge, [](const VolumeStats& s) { return s.stored_bytes; }},
    {"ramvol_volume_memory_bytes",
     "Memory that the volume takes, all overhead counted.", MetricType::Gauge,
     [](const VolumeStats& s) { return s.memory_bytes; }},
    {"ramvol_volume_own_bytes",
     "Of this memory, what deleting the volume would give back.",
     MetricType::Gauge, [](const VolumeStats& s) { return s.own_bytes; }},
    {"ramvol_volume_memory_limit_bytes",
     "Most memory that the volume may take; 0: no limit of its own.",
     MetricType::Gauge,
     [](const VolumeStats& s) { return s.memory_limit_bytes; }},
    {"ramvol_volume_iops_limit",
     "Most operations a second that clients may begin; 0: no limit.",
     MetricType::Gauge,
     [](const VolumeStats& s) { return s.limits.iops_total; }},
    {"ramvol_volume_bps_limit",
     "Most bytes a second that clients may read and write; 0: no limit.",
     MetricType::Gauge,
     [](const VolumeStats& s) { return s.limits.bps_total; }},
    {"ramvol_volume_throttled_now",
     "Operations that wait because of the volume's limits.", MetricType::Gauge,
     [](const VolumeStats& s) { return s.throttled_now; }},
    {"ramvol_volume_throttled_operations_total",
     "Operations that had to wait because of the volume's limits.",
     MetricType::Counter,
     [](const VolumeStats& s) { return s.throttled_operations; }},
    {"ramvol_volume_attached_clients", "Clients that hold the volume open.",
     MetricType::Gauge,
     [](const VolumeStats& s) {
       return static_cast<uint64_t>(s.attached_clients);
     }},
    {"ramvol_volume_read_bytes_total", "Bytes that were read.",
     MetricType::Counter, [](const VolumeStats& s) { return s.read_bytes; }},
    {"ramvol_volume_written_bytes_total", "Bytes that were written.",
     MetricType::Counter, [](const VolumeStats& s) { return s.written_bytes; }},
    {"ramvol_volume_trimmed_bytes_total", "Bytes that were trimmed.",
     MetricType::Counter, [](const VolumeStats& s) { return s.trimmed_bytes; }},
    {"ramvol_volume_hot_cache_hits_total",
     "Blocks that reads found in the hot cache.", MetricType::Counter,
     [](const VolumeStats& s) { return s.cache_hits; }},
    {"ramvol_volume_hot_cache_misses_total",
     "Blocks that reads did not find there.", MetricType::Counter,
     [](const VolumeStats& s) { return s.cache_misses; }},
};

std::array<uint64_t, engine::kOperations> Operations(const VolumeStats& s) {
  return {s.read_operations, s.write_operations, s.trim_operations,
          s.zero_operations, s.flush_operations, s.extents_operations};
}

// Adds the fields that have series.
void AddStats(const VolumeStats& from, VolumeStats& to) {
  for (const auto field :
       {&VolumeStats::size_bytes,          &VolumeStats::logical_bytes,
        &VolumeStats::stored_bytes,        &VolumeStats::memory_bytes,
        &VolumeStats::own_bytes,           &VolumeStats::memory_limit_bytes,
        &VolumeStats::compressed_blocks,   &VolumeStats::raw_blocks,
        &VolumeStats::same_filled_blocks,  &VolumeStats::dirty_blocks,
        &VolumeStats::read_operations,     &VolumeStats::write_operations,
        &VolumeStats::trim_operations,     &VolumeStats::zero_operations,
        &VolumeStats::flush_operations,    &VolumeStats::extents_operations,
        &VolumeStats::read_bytes,          &VolumeStats::written_bytes,
        &VolumeStats::trimmed_bytes,       &VolumeStats::cache_hits,
        &VolumeStats::cache_misses,        &VolumeStats::throttled_now,
        &VolumeStats::throttled_operations}) {
    // Saturates: the largest sizes add up to more than 64 bits hold.
    const uint64_t sum = to.*field + from.*field;
    to.*field = sum < from.*field ? std::numeric_limits<uint64_t>::max() : sum;
  }
  for (size_t i = 0; i < from.frames.size(); ++i)
    to.frames[i] += from.frames[i];
  for (size_t i = 0; i < from.errors.size(); ++i) {
    for (size_t j = 0; j < from.errors[i].size(); ++j) {
      to.errors[i][j] += from.errors[i][j];
    }
  }
  to.attached_clients += from.attached_clients;
}

// Builds the families, volume by volume.
class Builder {
 public:
  // Borrows `labels`.
  explicit Builder(const MetricLabels* labels) : labels_(labels) {
    for (const Plain& plain : kPlain) {
      families_.push_back(Family(plain.name, plain.help, plain.type));
    }
  }

  void Add(std::string_view volume, const VolumeStats& stats) {
    SetChosen(volume);
    for (size_t i = 0; i < std::size(kPlain); ++i) {
      const uint64_t value = kPlain[i].get(stats);
      if (kPlain[i].type == MetricType::Gauge) {
        Gauge(families_[i], {{"volume", volume}}, value);
      } else {
        Counter(families_[i], {{"volume", volume}}, value);
      }
    }
    AddBlocks(volume, stats);
    AddOperations(volume, stats);
  }

  std::vector<MetricFamily> Take() {
    families_.push_back(std::move(blocks_));
    families_.push_back(std::move(frames_));
    families_.push_back(std::move(operations_));
    families_.push_back(std::move(errors_));
    return std::move(families_);
  }

 private:
  // Finds the values of the chosen labels.
  void SetChosen(std::string_view volume) {
    chosen_.clear();
    if (labels_->chosen.empty()) return;
    const auto all = volume == kOther ? std::map<std::string, std::string>()
                                      : labels_->labels_of(std::string(volume));
    chosen_ = ValuesOf(labels_->chosen, all);
  }

  // These add a series, with the chosen labels.
  void Gauge(MetricFamily& family, Labels labels, uint64_t value) {
    AddGauge(family, labels, value);
    AddChosen(family);
  }
  void Counter(MetricFamily& family, Labels labels, uint64_t value) {
    AddCounter(family, labels, value);
    AddChosen(family);
  }
  void AddChosen(MetricFamily& family) const {
    auto& labels = family.metric.back().label;
    labels.insert(labels.end(), chosen_.begin(), chosen_.end());
  }

  void AddBlocks(std::string_view volume, const VolumeStats& stats) {
    const auto add = [&](const char* state, uint64_t count) {
      Gauge(blocks_, {{"volume", volume}, {"state", state}}, count);
    };
    add("compressed", stats.compressed_blocks);
    add("raw", stats.raw_blocks);
    add("same_filled", stats.same_filled_blocks);
    add("dirty", stats.dirty_blocks);
    for (size_t i = 0; i < stats.frames.size(); ++i) {
      Gauge(frames_, {{"volume", volume}, {"span", kSpanNames[i]}},
            stats.frames[i]);
    }
  }

  // Operations always have series, so that rates start from zero. Of the many
  // errors, only those that occurred have one.
  void AddOperations(std::string_view volume, const VolumeStats& stats) {
    const auto counts = Operations(stats);
    for (size_t i = 0; i < engine::kOperations; ++i) {
      const char* const name = engine::kOperationNames[i];
      Counter(operations_, {{"volume", volume}, {"op", name}}, counts[i]);
      for (size_t j = 0; j < engine::kErrorReasons.size(); ++j) {
        if (stats.errors[i][j] == 0) continue;
        Counter(errors_,
                {{"volume", volume},
                 {"op", name},
                 {"reason", engine::kErrorReasons[j]}},
                stats.errors[i][j]);
      }
    }
  }

  const MetricLabels* const labels_;
  std::vector<prometheus::ClientMetric::Label> chosen_;  // Of this volume.
  std::vector<MetricFamily> families_;
  MetricFamily blocks_ =
      Family("ramvol_volume_blocks",
             "Blocks of 4 KiB that are not holes, by how they are held.",
             MetricType::Gauge);
  MetricFamily frames_ = Family(
      "ramvol_volume_frames",
      "Compressed frames, by how many blocks they span.", MetricType::Gauge);
  MetricFamily operations_ =
      Family("ramvol_volume_operations_total", "Operations that succeeded.",
             MetricType::Counter);
  MetricFamily errors_ =
      Family("ramvol_volume_errors_total",
             "Operations that failed, by the reason of the error.",
             MetricType::Counter);
};

}  // namespace

std::vector<MetricFamily> VolumeMetrics::Collect() const {
  Builder builder(&labels_);
  VolumeStats other;
  size_t seen = 0;
  std::string after;
  while (true) {
    const auto volumes = engine_->List(after, kVolumesPerPage);
    if (volumes.empty()) break;
    for (const auto& [name, volume] : volumes) {
      const VolumeStats stats = volume->Stats();
      if (++seen <= max_volumes_) {
        builder.Add(name, stats);
      } else {
        AddStats(stats, other);
      }
    }
    after = volumes.back().name;
  }
  const size_t beyond = seen > max_volumes_ ? seen - max_volumes_ : 0;
  if (beyond > 0) builder.Add(kOther, other);
  std::vector<MetricFamily> families = builder.Take();
  families.push_back(Gauge("ramvol_metrics_max_volumes",
                           "Most volumes that have series of their own.",
                           max_volumes_));
  families.push_back(Gauge("ramvol_metrics_volumes_beyond_max",
                           "Volumes that are counted under \"_other\" only.",
                           beyond));
  return families;
}

}  // namespace ramvol::metrics
