// Metrics of the engine, for all volumes together. docs/metrics.md lists them.
#ifndef RAMVOL_SERVER_ENGINE_METRICS_ENGINE_METRICS_H_
#define RAMVOL_SERVER_ENGINE_METRICS_ENGINE_METRICS_H_

#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/engine/engine.h"

namespace ramvol::metrics {

// Reads the engine's statistics at each scrape. Thread-safe.
class EngineMetrics final : public prometheus::Collectable {
 public:
  // Borrows `engine`, which must outlive this.
  explicit EngineMetrics(const engine::Engine* engine) : engine_(engine) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const engine::Engine* const engine_;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_SERVER_ENGINE_METRICS_ENGINE_METRICS_H_
