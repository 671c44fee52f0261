// The counts of NBD sessions as Prometheus metrics. ARCHITECTURE.md, "Metrics",
// lists them.
#ifndef RAMVOL_SERVER_METRICS_NBD_METRICS_H_
#define RAMVOL_SERVER_METRICS_NBD_METRICS_H_

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "nbd_bridge/stats.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace ramvol::metrics {

// Adds the counts up whenever Prometheus asks. Thread-safe.
class NbdMetrics final : public prometheus::Collectable {
 public:
  // Of ramvold's own listener. Borrows `stats`, which must outlive this.
  explicit NbdMetrics(const nbd::NbdStats* stats) : stats_(stats) {}
  // Of ramvol-nbd, which has no other metrics. `reconnects` tells how many
  // streams to the server were opened in the place of lost ones.
  NbdMetrics(const nbd::NbdStats* stats, std::function<uint64_t()> reconnects)
      : stats_(stats), reconnects_(std::move(reconnects)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const nbd::NbdStats* const stats_;
  const std::function<uint64_t()> reconnects_;  // Null in ramvold.
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_SERVER_METRICS_NBD_METRICS_H_
