#include "vhost_user/metrics/vhost_metrics.h"

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/metrics/family.h"
#include "prometheus/metric_type.h"

namespace ramvol::metrics {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;
using vhost::VhostStats;

// Success always has a series, so that rates start from zero.
MetricFamily Requests(const VhostStats::Snapshot& counts) {
  MetricFamily family =
      Family("ramvol_vhost_user_requests_total",
             "Requests of virtual machines answered, by request and result.",
             MetricType::Counter);
  for (size_t kind = 0; kind < vhost::kRequestNames.size(); ++kind) {
    for (size_t result = 0; result < vhost::kResultNames.size(); ++result) {
      const uint64_t count = counts.requests[kind][result];
      const bool ok = result == static_cast<size_t>(vhost::ResultKind::kOk);
      if (count == 0 && !ok) continue;
      AddCounter(family,
                 {{"request", vhost::kRequestNames[kind]},
                  {"result", vhost::kResultNames[result]}},
                 count);
    }
  }
  return family;
}

MetricFamily Durations(const VhostStats::Snapshot& counts) {
  MetricFamily family = Family("ramvol_vhost_user_request_duration_seconds",
                               "From when a request is taken to its answer.",
                               MetricType::Histogram);
  for (size_t kind = 0; kind < vhost::kRequestNames.size(); ++kind) {
    AddHistogram(family, {{"request", vhost::kRequestNames[kind]}},
                 counts.durations[kind]);
  }
  return family;
}

}  // namespace

std::vector<MetricFamily> VhostMetrics::Collect() const {
  const VhostStats::Snapshot counts = stats_->Get();
  std::vector<MetricFamily> families;
  families.push_back(Gauge("ramvol_vhost_user_connections",
                           "Virtual machines' devices that are connected.",
                           counts.connections));
  families.push_back(Gauge("ramvol_vhost_user_sockets",
                           "Volumes and snapshots with a vhost-user socket.",
                           counts.sockets));
  families.push_back(Requests(counts));
  families.push_back(Durations(counts));
  return families;
}

}  // namespace ramvol::metrics
