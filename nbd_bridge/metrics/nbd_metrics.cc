#include "nbd_bridge/metrics/nbd_metrics.h"

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/metrics/family.h"
#include "prometheus/metric_type.h"

namespace ramvol::metrics {
namespace {

using nbd::NbdStats;
using prometheus::MetricFamily;
using prometheus::MetricType;

// Success always has a series, so that rates start from zero. Of the other 56
// combinations, only those that occurred have one.
MetricFamily Requests(const NbdStats::Snapshot& counts) {
  MetricFamily family = Family("ramvol_nbd_requests_total",
                               "NBD requests answered, by command and error.",
                               MetricType::Counter);
  for (size_t command = 0; command < nbd::kCommandNames.size(); ++command) {
    for (size_t error = 0; error < nbd::kErrorNames.size(); ++error) {
      const uint64_t count = counts.requests[command][error];
      if (count == 0 && error != static_cast<size_t>(nbd::ErrorKind::kNone)) {
        continue;
      }
      AddCounter(family,
                 {{"command", nbd::kCommandNames[command]},
                  {"error", nbd::kErrorNames[error]}},
                 count);
    }
  }
  return family;
}

MetricFamily Durations(const NbdStats::Snapshot& counts) {
  MetricFamily family =
      Family("ramvol_nbd_request_duration_seconds",
             "From a request's arrival to its answer.", MetricType::Histogram);
  for (size_t command = 0; command < nbd::kCommandNames.size(); ++command) {
    AddHistogram(family, {{"command", nbd::kCommandNames[command]}},
                 counts.durations[command]);
  }
  return family;
}

}  // namespace

std::vector<MetricFamily> NbdMetrics::Collect() const {
  const NbdStats::Snapshot counts = stats_->Get();
  std::vector<MetricFamily> families;
  families.push_back(Gauge("ramvol_nbd_connections",
                           "NBD clients that are connected.",
                           counts.connections));
  families.push_back(Gauge("ramvol_nbd_inflight_requests",
                           "NBD requests that are not answered yet.",
                           counts.inflight_requests));
  families.push_back(Requests(counts));
  families.push_back(Durations(counts));
  return families;
}

}  // namespace ramvol::metrics
