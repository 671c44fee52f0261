// Metrics of saves. docs/metrics.md lists them.
#ifndef RAMVOL_SERVER_SAVES_SAVE_METRICS_H_
#define RAMVOL_SERVER_SAVES_SAVE_METRICS_H_

#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/saves/save_dir.h"

namespace ramvol::metrics {

// Thread-safe.
class SaveMetrics final : public prometheus::Collectable {
 public:
  // Borrows `saves`, which must outlive this. Without it, nobody sees a metric.
  explicit SaveMetrics(const saves::SaveDir* saves) : saves_(saves) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const saves::SaveDir* const saves_;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_SERVER_SAVES_SAVE_METRICS_H_
