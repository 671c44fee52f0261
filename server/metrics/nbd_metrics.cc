#include "server/metrics/nbd_metrics.h"

#include <cstddef>
#include <limits>
#include <string>

#include "server/metrics/family.h"

namespace ramvol::metrics {
namespace {

using nbd::NbdStats;
using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr double kSecondsPerMicrosecond = 1e-6;

double UpperBoundSeconds(size_t bucket) {
  if (bucket + 1 == NbdStats::kBuckets) {
    return std::numeric_limits<double>::infinity();
  }
  return static_cast<double>(uint64_t{1} << bucket) * kSecondsPerMicrosecond;
}

// Success always has its series, so that rates have a beginning; of the 56
// errors, only those that occurred have one.
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
      ClientMetric& metric = family.metric.emplace_back();
      metric.label.push_back({"command", nbd::kCommandNames[command]});
      metric.label.push_back({"error", nbd::kErrorNames[error]});
      metric.counter.value = static_cast<double>(count);
    }
  }
  return family;
}

MetricFamily Durations(const NbdStats::Snapshot& counts) {
  MetricFamily family =
      Family("ramvol_nbd_request_duration_seconds",
             "From a request's arrival to its answer.", MetricType::Histogram);
  for (size_t command = 0; command < nbd::kCommandNames.size(); ++command) {
    const NbdStats::Snapshot::Histogram& from = counts.durations[command];
    ClientMetric& metric = family.metric.emplace_back();
    metric.label.push_back({"command", nbd::kCommandNames[command]});
    ClientMetric::Histogram& to = metric.histogram;
    uint64_t sum = 0;
    for (size_t i = 0; i < NbdStats::kBuckets; ++i) {
      sum += from.buckets[i];
      to.bucket.push_back(
          {.cumulative_count = sum, .upper_bound = UpperBoundSeconds(i)});
    }
    to.sample_count = sum;
    to.sample_sum = from.sum_seconds;
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
  if (reconnects_) {
    families.push_back(
        Counter("ramvol_nbd_reconnects_total",
                "Streams to the server that were lost and opened again.",
                reconnects_()));
    families.push_back(BuildInfo());
  }
  return families;
}

}  // namespace ramvol::metrics
