// Metrics of each volume. docs/metrics.md lists them.
#ifndef RAMVOL_SERVER_ENGINE_METRICS_VOLUME_METRICS_H_
#define RAMVOL_SERVER_ENGINE_METRICS_VOLUME_METRICS_H_

#include <cstddef>
#include <utility>
#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/engine/engine.h"
#include "server/engine/metrics/metric_labels.h"

namespace ramvol::metrics {

// Reads the volumes' statistics at each scrape. The first `max_volumes` by name
// have their own series. The others are added up as volume "_other", which is
// not a valid name of a volume. A deleted volume has no series. All series of
// volumes have the chosen `labels`, with the value "" if the volume has none of
// that key. Thread-safe.
class VolumeMetrics final : public prometheus::Collectable {
 public:
  // Borrows `engine`, which must outlive this.
  VolumeMetrics(const engine::Engine* engine, size_t max_volumes,
                MetricLabels labels = {})
      : engine_(engine),
        max_volumes_(max_volumes),
        labels_(std::move(labels)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const engine::Engine* const engine_;
  const size_t max_volumes_;
  const MetricLabels labels_;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_SERVER_ENGINE_METRICS_VOLUME_METRICS_H_
