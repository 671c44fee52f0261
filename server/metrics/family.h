// Makes Prometheus' families of metrics.
#ifndef RAMVOL_SERVER_METRICS_FAMILY_H_
#define RAMVOL_SERVER_METRICS_FAMILY_H_

#include <cstdint>

#include "prometheus/metric_family.h"
#include "prometheus/metric_type.h"

namespace ramvol::metrics {

// Without any metric yet.
prometheus::MetricFamily Family(const char* name, const char* help,
                                prometheus::MetricType type);

// Of one metric without labels.
prometheus::MetricFamily Gauge(const char* name, const char* help,
                               uint64_t value);
prometheus::MetricFamily Counter(const char* name, const char* help,
                                 uint64_t value);

// ramvol_build_info, which every program has.
prometheus::MetricFamily BuildInfo();

}  // namespace ramvol::metrics

#endif  // RAMVOL_SERVER_METRICS_FAMILY_H_
