#include "nbd_bridge/metrics/bridge_metrics.h"

#include "base/metrics/family.h"

namespace ramvol::metrics {

std::vector<prometheus::MetricFamily> BridgeMetrics::Collect() const {
  return {Counter("ramvol_nbd_reconnects_total",
                  "Streams to the server that were lost and opened again.",
                  reconnects_()),
          Gauge("ramvol_nbd_lost_streams",
                "Streams to the server that were lost and are not open again.",
                lost_streams_())};
}

}  // namespace ramvol::metrics
