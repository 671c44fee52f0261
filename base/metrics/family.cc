#include "base/metrics/family.h"

#include <cstddef>
#include <limits>

namespace ramvol::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr double kSecondsPerMicrosecond = 1e-6;
constexpr double kSecondsPerNanosecond = 1e-9;

double ToDouble(uint64_t value) { return static_cast<double>(value); }

ClientMetric& AddMetric(MetricFamily& family, Labels labels) {
  ClientMetric& metric = family.metric.emplace_back();
  metric.label.reserve(labels.size());
  for (const Label& label : labels) {
    metric.label.push_back({label.name, std::string(label.value)});
  }
  return metric;
}

double UpperBoundSeconds(size_t bucket) {
  if (bucket + 1 == DurationHistogram::kBuckets) {
    return std::numeric_limits<double>::infinity();
  }
  return ToDouble(uint64_t{1} << bucket) * kSecondsPerMicrosecond;
}

}  // namespace

MetricFamily Family(const char* name, const char* help, MetricType type) {
  MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  return family;
}

void AddGauge(MetricFamily& family, Labels labels, uint64_t value) {
  AddMetric(family, labels).gauge.value = ToDouble(value);
}

void AddCounter(MetricFamily& family, Labels labels, uint64_t value) {
  AddMetric(family, labels).counter.value = ToDouble(value);
}

void AddHistogram(MetricFamily& family, Labels labels,
                  const DurationHistogram::Snapshot& durations) {
  ClientMetric::Histogram& to = AddMetric(family, labels).histogram;
  uint64_t sum = 0;
  to.bucket.reserve(DurationHistogram::kBuckets);
  for (size_t i = 0; i < DurationHistogram::kBuckets; ++i) {
    sum += durations.buckets[i];
    to.bucket.push_back(
        {.cumulative_count = sum, .upper_bound = UpperBoundSeconds(i)});
  }
  to.sample_count = sum;
  to.sample_sum = ToDouble(durations.sum_ns) * kSecondsPerNanosecond;
}

MetricFamily Gauge(const char* name, const char* help, uint64_t value) {
  MetricFamily family = Family(name, help, MetricType::Gauge);
  AddGauge(family, {}, value);
  return family;
}

MetricFamily Counter(const char* name, const char* help, uint64_t value) {
  MetricFamily family = Family(name, help, MetricType::Counter);
  AddCounter(family, {}, value);
  return family;
}

}  // namespace ramvol::metrics
