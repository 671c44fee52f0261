// Where Prometheus finds the metrics.
#ifndef RAMVOL_SERVER_METRICS_ENDPOINT_H_
#define RAMVOL_SERVER_METRICS_ENDPOINT_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "prometheus/collectable.h"
#include "prometheus/exposer.h"

namespace ramvol::metrics {

// Serves http://HOST:PORT/metrics for its own lifetime.
class Endpoint {
 public:
  using Metrics = std::vector<std::shared_ptr<prometheus::Collectable>>;

  // `address` is as in --metrics_listen, "HOST:PORT"; port 0 takes a free one.
  // INVALID_ARGUMENT when it is none, UNAVAILABLE when it cannot be bound.
  static absl::StatusOr<std::unique_ptr<Endpoint>> Start(
      const std::string& address, Metrics metrics);
  ~Endpoint();

  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  // "http://127.0.0.1:7421/metrics"
  const std::string& url() const { return url_; }

 private:
  Endpoint(std::string host, Metrics metrics)
      : host_(std::move(host)), metrics_(std::move(metrics)) {}

  const std::string host_;
  const Metrics metrics_;
  std::unique_ptr<prometheus::Exposer> exposer_;
  int port_ = 0;
  std::string url_;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_SERVER_METRICS_ENDPOINT_H_
