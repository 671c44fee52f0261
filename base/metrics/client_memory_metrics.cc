#include "base/metrics/client_memory_metrics.h"

#include "base/metrics/family.h"

namespace ramvol::metrics {

std::vector<prometheus::MetricFamily> ClientMemoryMetrics::Collect() const {
  const ClientMemory::Stats stats = memory_.GetStats();
  return {Gauge("ramvol_client_memory_limit_bytes",
                "What may be held for clients.", stats.limit_bytes),
          Gauge("ramvol_client_memory_used_bytes", "What is held for clients.",
                stats.used_bytes),
          Gauge("ramvol_client_memory_waiting",
                "Clients whose next request waits for client memory.",
                stats.waiting),
          Counter("ramvol_clients_sent_away_total",
                  "Clients that held client memory for too long.",
                  stats.sent_away)};
}

}  // namespace ramvol::metrics
