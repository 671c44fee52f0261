#include "nbd_bridge/stats.h"

namespace ramvol::nbd {

void NbdStats::RequestEnded(CommandKind command, ErrorKind error,
                            int64_t took_ns) {
  const auto kind = static_cast<size_t>(command);
  counts_->gauges.Add(Gauge::kInflight, -1);
  counts_->requests[kind].Add(error, 1);
  counts_->durations[kind].Record(took_ns);
}

NbdStats::Snapshot NbdStats::Get() const {
  Snapshot all;
  all.connections = counts_->gauges.Sum(Gauge::kConnections);
  all.inflight_requests = counts_->gauges.Sum(Gauge::kInflight);
  for (size_t kind = 0; kind < kCommandNames.size(); ++kind) {
    for (size_t error = 0; error < kErrorNames.size(); ++error) {
      all.requests[kind][error] =
          counts_->requests[kind].Sum(static_cast<ErrorKind>(error));
    }
    all.durations[kind] = counts_->durations[kind].Get();
  }
  return all;
}

}  // namespace ramvol::nbd
