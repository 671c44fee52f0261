#include "base/metrics/door_metrics.h"

#include <cstddef>

#include "base/metrics/family.h"
#include "prometheus/metric_family.h"
#include "prometheus/metric_type.h"

namespace ramvol::metrics {

std::vector<prometheus::MetricFamily> DoorMetrics::Collect() const {
  prometheus::MetricFamily family =
      Family("ramvol_connections_turned_away_total",
             "Connections that were not let in, or sent away.",
             prometheus::MetricType::Counter);
  for (const Door& door : doors_) {
    for (size_t why = 0; why < kTurnedAwayNames.size(); ++why) {
      AddCounter(family,
                 {{"protocol", door.name}, {"cause", kTurnedAwayNames[why]}},
                 door.stats->Get(static_cast<TurnedAway>(why)));
    }
  }
  return {std::move(family)};
}

}  // namespace ramvol::metrics
