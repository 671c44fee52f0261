#include "server/metrics/family.h"

#include <string>

#include "proto/base/version.h"

namespace ramvol::metrics {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily Family(const char* name, const char* help, MetricType type) {
  MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  return family;
}

MetricFamily Gauge(const char* name, const char* help, uint64_t value) {
  MetricFamily family = Family(name, help, MetricType::Gauge);
  family.metric.emplace_back().gauge.value = static_cast<double>(value);
  return family;
}

MetricFamily Counter(const char* name, const char* help, uint64_t value) {
  MetricFamily family = Family(name, help, MetricType::Counter);
  family.metric.emplace_back().counter.value = static_cast<double>(value);
  return family;
}

MetricFamily BuildInfo() {
  MetricFamily family =
      Family("ramvol_build_info", "Always 1; the labels tell the version.",
             MetricType::Gauge);
  ClientMetric& metric = family.metric.emplace_back();
  metric.label.push_back({"version", std::string(kVersion)});
  metric.gauge.value = 1;
  return family;
}

}  // namespace ramvol::metrics
