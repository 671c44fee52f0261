// What is held for clients. docs/metrics.md lists it.
#ifndef RAMVOL_BASE_METRICS_CLIENT_MEMORY_METRICS_H_
#define RAMVOL_BASE_METRICS_CLIENT_MEMORY_METRICS_H_

#include <vector>

#include "base/client_memory.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace ramvol::metrics {

// Of one program. Thread-safe.
class ClientMemoryMetrics final : public prometheus::Collectable {
 public:
  // Borrows `memory`, which must outlive this.
  explicit ClientMemoryMetrics(ClientMemory* memory) : memory_(*memory) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  ClientMemory& memory_;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_BASE_METRICS_CLIENT_MEMORY_METRICS_H_
