#include "csi/csi_metrics.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/metrics/family.h"
#include "csi/calls.h"
#include "csi/condition.h"
#include "csi/device_attacher.h"
#include "csi/leftovers.h"
#include "csi/node_volumes.h"
#include "csi/volume_watch.h"
#include "prometheus/client_metric.h"
#include "prometheus/metric_family.h"
#include "prometheus/metric_type.h"

namespace ramvol::csi_driver {
namespace {

using metrics::AddCounter;
using metrics::AddGauge;
using metrics::AddHistogram;
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

void AddCalls(const Calls& counted, std::vector<MetricFamily>* out) {
  MetricFamily calls =
      Family("ramvol_csi_calls_total",
             "Calls of the container orchestrator, by method and code.",
             MetricType::Counter);
  MetricFamily seconds =
      Family("ramvol_csi_call_seconds_total",
             "Time that those calls took, all together.", MetricType::Counter);
  for (const Calls::Count& count : counted.counts()) {
    AddCounter(calls, {{"method", count.method}, {"code", count.code}},
               count.calls);
    AddSeconds(seconds, count);
  }
  out->push_back(std::move(calls));
  out->push_back(std::move(seconds));
}

void AddDevices(const DeviceAttacher& attacher, const NodeVolumes& volumes,
                std::vector<MetricFamily>* out) {
  struct Counts {
    uint64_t alive = 0;
    uint64_t dead = 0;
  };
  std::map<std::string, Counts> by_way;
  by_way[attacher.way()];  // Also without a device.
  for (const AttachedDevice& attached : attacher.List()) {
    if (attached.device.empty()) continue;
    Counts& counts = by_way[attached.way];
    ++(attached.alive ? counts.alive : counts.dead);
  }
  MetricFamily devices =
      Family("ramvol_csi_devices",
             "Volumes that are block devices of this node, by the way in which "
             "they are attached, and whether they reach ramvold.",
             MetricType::Gauge);
  for (const auto& [way, counts] : by_way) {
    AddGauge(devices, {{"way", way}, {"state", "alive"}}, counts.alive);
    AddGauge(devices, {{"way", way}, {"state", "dead"}}, counts.dead);
  }
  out->push_back(std::move(devices));
  MetricFamily times =
      Family("ramvol_csi_attach_duration_seconds",
             "Time that it took to make a volume a block device.",
             MetricType::Histogram);
  AddHistogram(times, {{"way", attacher.way()}}, volumes.attach_times());
  out->push_back(std::move(times));
}

void AddCleanUps(const LeftoverCounts& counts, std::vector<MetricFamily>* out) {
  MetricFamily cleaned =
      Family("ramvol_csi_cleaned_up_total",
             "What nothing used when the driver started, and was taken away.",
             MetricType::Counter);
  AddCounter(cleaned, {{"kind", "device"}}, counts.devices);
  AddCounter(cleaned, {{"kind", "inline_volume"}}, counts.volumes);
  out->push_back(std::move(cleaned));
  out->push_back(metrics::Counter("ramvol_csi_clean_up_failures_total",
                                  "How often something of that could not be "
                                  "taken away, or be looked for.",
                                  counts.failures));
}

void AddClasses(const VolumesSummary& summary, std::vector<MetricFamily>* out) {
  MetricFamily volumes =
      Family("ramvol_csi_volumes", "Volumes that the driver made, by class.",
             MetricType::Gauge);
  MetricFamily provisioned =
      Family("ramvol_csi_provisioned_bytes",
             "The sizes of these volumes together.", MetricType::Gauge);
  for (const auto& [name, of_class] : summary.classes) {
    AddGauge(volumes, {{"class", name}}, of_class.volumes);
    AddGauge(provisioned, {{"class", name}}, of_class.provisioned_bytes);
  }
  out->push_back(std::move(volumes));
  out->push_back(std::move(provisioned));
}

void AddVolumes(const VolumesSummary& summary, std::vector<MetricFamily>* out) {
  out->push_back(metrics::Gauge("ramvol_csi_server_reached",
                                "1 if ramvold answered at the last look.",
                                summary.reached ? 1 : 0));
  // What is not known is not 0.
  if (!summary.reached) return;
  AddClasses(summary, out);
  MetricFamily abnormal =
      Family("ramvol_csi_abnormal_volumes",
             "Volumes with an abnormal condition.", MetricType::Gauge);
  for (const Cause cause : {Cause::kDamaged, Cause::kServerMemory,
                            Cause::kVolumeMemory, Cause::kDeadDevice}) {
    AddGauge(abnormal, {{"cause", NameOf(cause)}},
             summary.by_cause[static_cast<size_t>(cause)]);
  }
  out->push_back(std::move(abnormal));
  out->push_back(metrics::Gauge("ramvol_csi_memory_limit_bytes",
                                "The memory limit of ramvold.",
                                summary.memory_limit_bytes));
}

}  // namespace

std::vector<MetricFamily> CsiMetrics::Collect() const {
  std::vector<MetricFamily> all;
  AddCalls(*calls_, &all);
  AddDevices(*attacher_, *volumes_, &all);
  AddCleanUps(leftovers_->counts(), &all);
  all.push_back(metrics::Counter("ramvol_csi_recreated_volumes_total",
                                 "Lost volumes that were made anew.",
                                 volumes_->recreated()));
  AddVolumes(watch_->summary(), &all);
  return all;
}

}  // namespace ramvol::csi_driver
