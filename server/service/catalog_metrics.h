// Metrics of the catalog. docs/metrics.md lists them.
#ifndef RAMVOL_SERVER_SERVICE_CATALOG_METRICS_H_
#define RAMVOL_SERVER_SERVICE_CATALOG_METRICS_H_

#include <vector>

#include "base/metrics/family.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/service/catalog.h"

namespace ramvol::metrics {

// Thread-safe.
class CatalogMetrics final : public prometheus::Collectable {
 public:
  // Borrows `catalog`, which must outlive this.
  explicit CatalogMetrics(const service::Catalog* catalog)
      : catalog_(*catalog) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    return {Gauge("ramvol_volumes_with_ttl",
                  "Volumes that have a time to live.", catalog_.with_ttl()),
            Counter("ramvol_volumes_expired_total",
                    "Volumes that were deleted at the end of their time to "
                    "live.",
                    catalog_.expired())};
  }

 private:
  const service::Catalog& catalog_;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_SERVER_SERVICE_CATALOG_METRICS_H_
