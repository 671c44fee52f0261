// Which hosts a page for browsers is served for.
#ifndef RAMVOL_BASE_METRICS_HOST_RULE_H_
#define RAMVOL_BASE_METRICS_HOST_RULE_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace ramvol::metrics {

inline constexpr size_t kMaxHosts = 64;

// Judges the Host of requests. A site that a browser shows may let its own name
// lead to this machine (DNS rebinding) and would then read what is served as if
// it were its own; its requests have its name for a Host. So only those hosts
// are let in that no stranger's name is: IP addresses, localhost, and the names
// that were given.
class HostRule {
 public:
  HostRule() = default;
  // `names` is a list such as "ramvol.example,.example", in which a leading dot
  // stands for all names below. INVALID_ARGUMENT for what is no name, and for
  // more than kMaxHosts.
  static absl::StatusOr<HostRule> Parse(const std::string& names);

  // `host` is a Host field's value, with or without a port. An empty one is let
  // in: no browser sends it.
  bool Allows(std::string_view host) const;

 private:
  std::vector<std::string> names_;  // In lower case, some with a leading dot.
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_BASE_METRICS_HOST_RULE_H_
