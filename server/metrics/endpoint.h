// Where Prometheus finds the metrics.
#ifndef RAMVOL_SERVER_METRICS_ENDPOINT_H_
#define RAMVOL_SERVER_METRICS_ENDPOINT_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "prometheus/collectable.h"
#include "prometheus/exposer.h"

namespace ramvol::metrics {

// Serves http://HOST:PORT/metrics for its own lifetime.
class Endpoint {
 public:
  // `host` without brackets; port 0 takes a free one. UNAVAILABLE when the
  // address cannot be bound.
  static absl::StatusOr<std::unique_ptr<Endpoint>> Start(
      const std::string& host, int port,
      std::shared_ptr<prometheus::Collectable> metrics);
  ~Endpoint();

  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  int port() const { return port_; }

 private:
  Endpoint(std::string host, std::shared_ptr<prometheus::Collectable> metrics)
      : host_(std::move(host)), metrics_(std::move(metrics)) {}

  const std::string host_;
  const std::shared_ptr<prometheus::Collectable> metrics_;
  std::unique_ptr<prometheus::Exposer> exposer_;
  int port_ = 0;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_SERVER_METRICS_ENDPOINT_H_
