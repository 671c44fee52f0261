// Metrics of NBD sessions. docs/metrics.md lists them.
#ifndef RAMVOL_NBD_BRIDGE_METRICS_NBD_METRICS_H_
#define RAMVOL_NBD_BRIDGE_METRICS_NBD_METRICS_H_

#include <vector>

#include "nbd_bridge/stats.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace ramvol::metrics {

// Reads the counts at each scrape. Thread-safe.
class NbdMetrics final : public prometheus::Collectable {
 public:
  // Borrows `stats`, which must outlive this.
  explicit NbdMetrics(const nbd::NbdStats* stats) : stats_(stats) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const nbd::NbdStats* const stats_;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_NBD_BRIDGE_METRICS_NBD_METRICS_H_
