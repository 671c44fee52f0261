#include "server/engine/metrics/metric_labels.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/engine/types/options.h"

namespace ramvol::metrics {
namespace {

std::string NameOf(const std::string& key) {
  std::string name = absl::StrCat("label_", key);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !absl::ascii_isalnum(c); },
      '_');
  return name;
}

// Whether `key` may join `before`.
absl::Status Check(const MetricLabel& label,
                   const std::vector<MetricLabel>& before) {
  if (!engine::ValidateName(label.key).ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", absl::CHexEscape(label.key),
        "\" is no key of a label: 1 to 63 characters of [a-z0-9._-] that begin "
        "and end with a letter or a digit"));
  }
  for (const MetricLabel& other : before) {
    if (other.name != label.name) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("\"", other.key, "\" and \"", label.key,
                     "\" both become the label ", label.name, "; name one"));
  }
  if (before.size() < kMaxMetricLabels) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("there are more than ", kMaxMetricLabels,
                   " keys; each is on all series of a volume"));
}

}  // namespace

absl::StatusOr<std::vector<MetricLabel>> ParseMetricLabels(
    const std::string& keys) {
  std::vector<MetricLabel> labels;
  if (keys.empty()) return labels;
  const std::vector<std::string> split = absl::StrSplit(keys, ',');
  for (const std::string& key : split) {
    MetricLabel label{key, NameOf(key)};
    const absl::Status valid = Check(label, labels);
    if (!valid.ok()) return valid;
    labels.push_back(std::move(label));
  }
  return labels;
}

std::vector<prometheus::ClientMetric::Label> ValuesOf(
    const std::vector<MetricLabel>& chosen,
    const std::map<std::string, std::string>& all) {
  std::vector<prometheus::ClientMetric::Label> values;
  for (const MetricLabel& label : chosen) {
    const auto found = all.find(label.key);
    values.push_back(
        {label.name, found == all.end() ? std::string() : found->second});
  }
  return values;
}

}  // namespace ramvol::metrics
