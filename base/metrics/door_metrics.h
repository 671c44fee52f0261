// Metrics of connections that were turned away.
#ifndef RAMVOL_BASE_METRICS_DOOR_METRICS_H_
#define RAMVOL_BASE_METRICS_DOOR_METRICS_H_

#include <utility>
#include <vector>

#include "base/door_stats.h"
#include "prometheus/collectable.h"

namespace ramvol::metrics {

// For all doors of one program. Thread-safe.
class DoorMetrics final : public prometheus::Collectable {
 public:
  struct Door {
    const char* name;  // The label's value.
    const DoorStats* stats;
  };

  // Borrows the statistics, which must outlive this.
  explicit DoorMetrics(std::vector<Door> doors) : doors_(std::move(doors)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::vector<Door> doors_;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_BASE_METRICS_DOOR_METRICS_H_
