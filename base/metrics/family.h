// Builds Prometheus metric families.
#ifndef RAMVOL_BASE_METRICS_FAMILY_H_
#define RAMVOL_BASE_METRICS_FAMILY_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/duration_histogram.h"
#include "prometheus/client_metric.h"
#include "prometheus/metric_family.h"
#include "prometheus/metric_type.h"

namespace ramvol::metrics {

struct Label {
  const char* name;
  std::string_view value;
};
using Labels = std::initializer_list<Label>;

// A family without metrics.
prometheus::MetricFamily Family(const char* name, const char* help,
                                prometheus::MetricType type);

// These add a metric to a family of the same type.
void AddGauge(prometheus::MetricFamily& family, Labels labels, uint64_t value);
void AddCounter(prometheus::MetricFamily& family, Labels labels,
                uint64_t value);
void AddHistogram(prometheus::MetricFamily& family, Labels labels,
                  const DurationHistogram::Snapshot& durations);

// A family of one metric without labels.
prometheus::MetricFamily Gauge(const char* name, const char* help,
                               uint64_t value);
prometheus::MetricFamily Counter(const char* name, const char* help,
                                 uint64_t value);

}  // namespace ramvol::metrics

#endif  // RAMVOL_BASE_METRICS_FAMILY_H_
