// The HTTP server for Prometheus and for probes.
#ifndef RAMVOL_SERVER_METRICS_ENDPOINT_H_
#define RAMVOL_SERVER_METRICS_ENDPOINT_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "prometheus/collectable.h"
#include "proto/base/mutex.h"

struct mg_callbacks;
struct mg_connection;
struct mg_context;

namespace ramvol::metrics {

// Serves for its own lifetime:
//   /metrics  the metrics in Prometheus' text format, never compressed: that
//             would take longer than all the rest;
//   /healthz  200 "ok": the process serves;
//   /readyz   200 "ok" when it is ready, else 503 and the reason, a line of
//             text.
class Endpoint {
 public:
  using Metrics = std::vector<std::shared_ptr<prometheus::Collectable>>;
  // "" when the program is ready, else why not. Called by several threads.
  using Readiness = std::function<std::string()>;

  // `address` is as in --metrics_listen, "HOST:PORT"; port 0 takes a free one.
  // INVALID_ARGUMENT when it is none, UNAVAILABLE when it cannot be bound.
  static absl::StatusOr<std::unique_ptr<Endpoint>> Start(
      const std::string& address, Metrics metrics, Readiness readiness);
  ~Endpoint();

  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  // "http://127.0.0.1:7421/metrics"
  const std::string& url() const { return url_; }

 private:
  struct Answer;

  Endpoint(std::string host, Metrics metrics, Readiness readiness)
      : host_(std::move(host)),
        metrics_(std::move(metrics)),
        readiness_(std::move(readiness)) {}

  absl::Status Listen(const std::string& address);
  Answer AnswerTo(const std::string& method, const std::string& path) const;
  std::string Scrape() const;
  static int OnRequest(mg_connection* connection);
  static int OnLog(const mg_connection* connection, const char* message);

  const std::string host_;
  const Metrics metrics_;
  const Readiness readiness_;
  mg_context* context_ = nullptr;
  Mutex mu_;
  // What the web server said last.
  std::string complaint_ ABSL_GUARDED_BY(mu_);
  int port_ = 0;
  std::string url_;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_SERVER_METRICS_ENDPOINT_H_
