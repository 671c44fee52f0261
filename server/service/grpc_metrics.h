// Metrics of gRPC calls. docs/metrics.md lists them.
#ifndef RAMVOL_SERVER_SERVICE_GRPC_METRICS_H_
#define RAMVOL_SERVER_SERVICE_GRPC_METRICS_H_

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/service/rpc_stats.h"

namespace ramvol::metrics {

// Names and labels follow go-grpc-prometheus. Thread-safe.
class GrpcMetrics final : public prometheus::Collectable {
 public:
  // Borrows `stats`, which must outlive this. `io_streams` returns the number
  // of open Io streams.
  GrpcMetrics(const service::RpcStats* stats,
              std::function<uint64_t()> io_streams)
      : stats_(stats), io_streams_(std::move(io_streams)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const service::RpcStats* const stats_;
  const std::function<uint64_t()> io_streams_;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_SERVER_SERVICE_GRPC_METRICS_H_
