#include "server/saves/save_metrics.h"

#include "absl/time/time.h"
#include "base/metrics/family.h"

namespace ramvol::metrics {

std::vector<prometheus::MetricFamily> SaveMetrics::Collect() const {
  const saves::SaveDir::Stats stats =
      saves_ == nullptr ? saves::SaveDir::Stats() : saves_->stats();
  prometheus::MetricFamily saves =
      Family("ramvol_saves_total", "Saves of all volumes to the --save_dir.",
             prometheus::MetricType::Counter);
  AddCounter(saves, {{"result", "ok"}}, stats.saves);
  AddCounter(saves, {{"result", "failed"}}, stats.failed);
  prometheus::MetricFamily took =
      Gauge("ramvol_save_seconds", "How long the last good save took.", 0);
  took.metric[0].gauge.value = absl::ToDoubleSeconds(stats.last_took);
  return {
      saves,
      Gauge("ramvol_save_failed",
            "1 if the last save failed, or left something out.",
            stats.last_failed ? 1 : 0),
      Gauge("ramvol_save_timestamp_seconds",
            "When the last good save of this process began; 0: there was "
            "none.",
            static_cast<uint64_t>(absl::ToUnixSeconds(stats.last_time))),
      took,
      Gauge("ramvol_save_bytes", "Bytes of the files of that save.",
            stats.last_bytes),
      Gauge("ramvol_save_read_bytes",
            "Bytes of the save that this process began with.",
            stats.restored_bytes),
      Gauge("ramvol_save_restoring_bytes",
            "Bytes of it that are still to be read.", stats.restoring_bytes),
      Gauge("ramvol_save_damaged_images",
            "Images of that save that are damaged, or lie on such.",
            stats.damaged_images)};
}

}  // namespace ramvol::metrics
