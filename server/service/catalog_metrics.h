// Metrics of the catalog and of those who watch it. docs/metrics.md lists them.
#ifndef RAMVOL_SERVER_SERVICE_CATALOG_METRICS_H_
#define RAMVOL_SERVER_SERVICE_CATALOG_METRICS_H_

#include <vector>

#include "base/metrics/family.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/service/catalog.h"
#include "server/service/event_watchers.h"

namespace ramvol::metrics {

// Thread-safe.
class CatalogMetrics final : public prometheus::Collectable {
 public:
  // Borrows both, which must outlive this.
  CatalogMetrics(const service::Catalog* catalog,
                 const service::EventWatchers* watchers)
      : catalog_(*catalog), watchers_(*watchers) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    return {Gauge("ramvol_volumes_with_ttl",
                  "Volumes that have a time to live.", catalog_.with_ttl()),
            Counter("ramvol_volumes_expired_total",
                    "Volumes that were deleted at the end of their time to "
                    "live.",
                    catalog_.expired()),
            Gauge("ramvol_event_watchers", "Streams of WatchEvents.",
                  watchers_.size())};
  }

 private:
  const service::Catalog& catalog_;
  const service::EventWatchers& watchers_;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_SERVER_SERVICE_CATALOG_METRICS_H_
