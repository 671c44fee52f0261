#include "csi/csi_metrics.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/metrics/family.h"
#include "csi/calls.h"
#include "csi/device_attacher.h"
#include "prometheus/client_metric.h"
#include "prometheus/metric_family.h"
#include "prometheus/metric_type.h"

namespace ramvol::csi_driver {
namespace {

using metrics::AddGauge;
using metrics::Family;
using prometheus::MetricFamily;
using prometheus::MetricType;

// A counter of seconds, which are no whole numbers.
void AddSeconds(MetricFamily& family, const Calls::Count& count) {
  prometheus::ClientMetric metric;
  metric.label = {{"method", count.method}, {"code", count.code}};
  metric.counter.value = absl::ToDoubleSeconds(count.total);
  family.metric.push_back(std::move(metric));
}

}  // namespace

std::vector<MetricFamily> CsiMetrics::Collect() const {
  MetricFamily calls =
      Family("ramvol_csi_calls_total",
             "Calls of the container orchestrator, by method and code.",
             MetricType::Counter);
  MetricFamily seconds =
      Family("ramvol_csi_call_seconds_total",
             "Time that those calls took, all together.", MetricType::Counter);
  for (const Calls::Count& count : calls_->counts()) {
    metrics::AddCounter(calls, {{"method", count.method}, {"code", count.code}},
                        count.calls);
    AddSeconds(seconds, count);
  }
  uint64_t alive = 0;
  uint64_t dead = 0;
  for (const AttachedDevice& attached : attacher_->List()) {
    ++(attached.alive ? alive : dead);
  }
  MetricFamily devices =
      Family("ramvol_csi_devices",
             "Volumes that are block devices of this node, by the way in which "
             "they are attached, and whether they reach ramvold.",
             MetricType::Gauge);
  const std::string way = attacher_->way();
  AddGauge(devices, {{"way", way}, {"state", "alive"}}, alive);
  AddGauge(devices, {{"way", way}, {"state", "dead"}}, dead);
  return {std::move(calls), std::move(seconds), std::move(devices)};
}

}  // namespace ramvol::csi_driver
