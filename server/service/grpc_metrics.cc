#include "server/service/grpc_metrics.h"

#include <cstddef>

#include "base/metrics/family.h"
#include "prometheus/metric_type.h"

namespace ramvol::metrics {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;
using service::RpcStats;

// OK always has a series, so that rates start from zero. Other codes have one
// after they occurred.
void AddHandled(const RpcStats::Method& method, MetricFamily& handled) {
  for (size_t code = 0; code < service::kCodeNames.size(); ++code) {
    const uint64_t count = method.stats->handled(code);
    if (count == 0 && code != 0) continue;
    AddCounter(handled,
               {{"grpc_type", method.type},
                {"grpc_service", method.service},
                {"grpc_method", method.name},
                {"grpc_code", service::kCodeNames[code]}},
               count);
  }
}

}  // namespace

std::vector<MetricFamily> GrpcMetrics::Collect() const {
  MetricFamily started = Family("grpc_server_started_total",
                                "Calls that began.", MetricType::Counter);
  MetricFamily handled = Family("grpc_server_handled_total",
                                "Calls that ended, by status code, whether "
                                "they succeeded or not.",
                                MetricType::Counter);
  MetricFamily seconds =
      Family("grpc_server_handling_seconds",
             "From a call's arrival to its status.", MetricType::Histogram);
  MetricFamily received =
      Family("grpc_server_msg_received_total",
             "Messages that came from clients.", MetricType::Counter);
  MetricFamily sent =
      Family("grpc_server_msg_sent_total", "Messages that went to clients.",
             MetricType::Counter);
  for (const RpcStats::Method& method : stats_->methods()) {
    const auto labels = {Label{"grpc_type", method.type},
                         Label{"grpc_service", method.service},
                         Label{"grpc_method", method.name}};
    AddCounter(started, labels, method.stats->started());
    AddCounter(received, labels, method.stats->received());
    AddCounter(sent, labels, method.stats->sent());
    AddHistogram(seconds, labels, method.stats->durations());
    AddHandled(method, handled);
  }
  std::vector<MetricFamily> families;
  families.push_back(std::move(started));
  families.push_back(std::move(handled));
  families.push_back(std::move(seconds));
  families.push_back(std::move(received));
  families.push_back(std::move(sent));
  families.push_back(
      Gauge("ramvol_io_streams", "Io streams that are open.", io_streams_()));
  return families;
}

}  // namespace ramvol::metrics
