#include "vhost_user/stats.h"

namespace ramvol::vhost {

VhostStats::Snapshot VhostStats::Get() const {
  Snapshot all;
  all.connections = counts_->gauges.Sum(Gauge::kConnections);
  all.sockets = counts_->gauges.Sum(Gauge::kSockets);
  for (size_t kind = 0; kind < kRequestNames.size(); ++kind) {
    for (size_t result = 0; result < kResultNames.size(); ++result) {
      all.requests[kind][result] =
          counts_->requests[kind].Sum(static_cast<ResultKind>(result));
    }
    all.durations[kind] = counts_->durations[kind].Get();
  }
  return all;
}

}  // namespace ramvol::vhost
