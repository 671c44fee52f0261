// Metrics of ramvol-nbd's streams to the server. docs/metrics.md lists them.
#ifndef RAMVOL_NBD_BRIDGE_METRICS_BRIDGE_METRICS_H_
#define RAMVOL_NBD_BRIDGE_METRICS_BRIDGE_METRICS_H_

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace ramvol::metrics {

// Thread-safe if the functions are.
class BridgeMetrics final : public prometheus::Collectable {
 public:
  using Number = std::function<uint64_t()>;

  // `reconnects` counts streams that replaced lost ones; `lost_streams` is the
  // number of lost ones that are not replaced yet.
  BridgeMetrics(Number reconnects, Number lost_streams)
      : reconnects_(std::move(reconnects)),
        lost_streams_(std::move(lost_streams)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Number reconnects_;
  const Number lost_streams_;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_NBD_BRIDGE_METRICS_BRIDGE_METRICS_H_
