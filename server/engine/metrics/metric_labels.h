// Which labels of volumes become labels of their metrics.
#ifndef RAMVOL_SERVER_ENGINE_METRICS_METRIC_LABELS_H_
#define RAMVOL_SERVER_ENGINE_METRICS_METRIC_LABELS_H_

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "prometheus/client_metric.h"

namespace ramvol::metrics {

// Each is on some 26 series a volume.
inline constexpr size_t kMaxMetricLabels = 8;

struct MetricLabel {
  std::string key;   // Of volumes: "app.kubernetes.io".
  std::string name;  // Of metrics: "label_app_kubernetes_io".
};

// The labels of a list of keys such as "team,env"; "" has none. Names are made
// as kube-state-metrics makes them: "label_", then the key with '_' for what a
// metric's label may not have. INVALID_ARGUMENT for a key that no volume can
// have, for two that get the same name, and for more than kMaxMetricLabels.
absl::StatusOr<std::vector<MetricLabel>> ParseMetricLabels(
    const std::string& keys);

// The chosen ones with their values in `all`, in order; "" if it has none.
std::vector<prometheus::ClientMetric::Label> ValuesOf(
    const std::vector<MetricLabel>& chosen,
    const std::map<std::string, std::string>& all);

// The labels that volumes get in their metrics, and where their values are
// from.
struct MetricLabels {
  std::vector<MetricLabel> chosen;
  // Returns all labels of a volume, none if it does not exist. Thread-safe. Not
  // called if none is chosen.
  std::function<std::map<std::string, std::string>(const std::string& volume)>
      labels_of;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_SERVER_ENGINE_METRICS_METRIC_LABELS_H_
