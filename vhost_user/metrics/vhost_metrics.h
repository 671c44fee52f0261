// Metrics of vhost-user sessions. docs/metrics.md lists them.
#ifndef RAMVOL_VHOST_USER_METRICS_VHOST_METRICS_H_
#define RAMVOL_VHOST_USER_METRICS_VHOST_METRICS_H_

#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "vhost_user/stats.h"

namespace ramvol::metrics {

// Reads the counts at each scrape. Thread-safe.
class VhostMetrics final : public prometheus::Collectable {
 public:
  // Borrows `stats`, which must outlive this.
  explicit VhostMetrics(const vhost::VhostStats* stats) : stats_(stats) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const vhost::VhostStats* const stats_;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_VHOST_USER_METRICS_VHOST_METRICS_H_
