// What every program of the project says about itself: its version, and the
// usual process_* metrics. docs/metrics.md lists them.
#ifndef RAMVOL_BASE_METRICS_PROCESS_METRICS_H_
#define RAMVOL_BASE_METRICS_PROCESS_METRICS_H_

#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace ramvol::metrics {

// Reads /proc whenever Prometheus asks. Thread-safe.
class ProcessMetrics final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_BASE_METRICS_PROCESS_METRICS_H_
