// Finds numbers among metrics.
#ifndef RAMVOL_TESTS_SUPPORT_METRIC_VALUE_H_
#define RAMVOL_TESTS_SUPPORT_METRIC_VALUE_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "prometheus/metric_family.h"
#include "prometheus/metric_type.h"

namespace ramvol::testing {

// The value of the metric with exactly these labels, a histogram's count;
// nullopt when there is none.
inline std::optional<double> MetricValue(
    const std::vector<prometheus::MetricFamily>& families,
    const std::string& name,
    const std::map<std::string, std::string>& labels = {}) {
  for (const prometheus::MetricFamily& family : families) {
    if (family.name != name) continue;
    for (const prometheus::ClientMetric& metric : family.metric) {
      std::map<std::string, std::string> found;
      for (const auto& label : metric.label) found[label.name] = label.value;
      if (found != labels) continue;
      switch (family.type) {
        case prometheus::MetricType::Counter:
          return metric.counter.value;
        case prometheus::MetricType::Histogram:
          return static_cast<double>(metric.histogram.sample_count);
        default:
          return metric.gauge.value;
      }
    }
  }
  return std::nullopt;
}

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_SUPPORT_METRIC_VALUE_H_
