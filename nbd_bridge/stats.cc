#include "nbd_bridge/stats.h"

namespace ramvol::nbd {

void NbdStats::RequestEnded(CommandKind command, ErrorKind error,
                            int64_t took_ns) {
  const auto kind = static_cast<size_t>(command);
  gauges_.Add(Gauge::kInflight, -1);
  requests_[kind].Add(error, 1);
  durations_[kind].Record(took_ns);
}

NbdStats::Snapshot NbdStats::Get() const {
  Snapshot all;
  all.connections = gauges_.Sum(Gauge::kConnections);
  all.inflight_requests = gauges_.Sum(Gauge::kInflight);
  for (size_t kind = 0; kind < kCommandNames.size(); ++kind) {
    for (size_t error = 0; error < kErrorNames.size(); ++error) {
      all.requests[kind][error] =
          requests_[kind].Sum(static_cast<ErrorKind>(error));
    }
    all.durations[kind] = durations_[kind].Get();
  }
  return all;
}

}  // namespace ramvol::nbd
