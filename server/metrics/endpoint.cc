#include "server/metrics/endpoint.h"

#include <civetweb.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <iterator>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "prometheus/metric_family.h"
#include "prometheus/text_serializer.h"
#include "proto/base/listen_address.h"

namespace ramvol::metrics {
namespace {

// A scrape takes one, so that probes are answered meanwhile.
constexpr char kThreads[] = "3";
constexpr char kRequestTimeoutMs[] = "10000";

constexpr char kPlainText[] = "text/plain; charset=utf-8";
constexpr char kMetricsText[] = "text/plain; version=0.0.4; charset=utf-8";

// Connects, and hangs up.
void Knock(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), absl::StrCat(port).c_str(), &hints, &found) !=
      0) {
    return;
  }
  const auto free_found = absl::MakeCleanup([found] { freeaddrinfo(found); });
  const int fd =
      socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return;
  // Whether it succeeds does not matter.
  (void)connect(fd, found->ai_addr, found->ai_addrlen);
  close(fd);
}

}  // namespace

struct Endpoint::Answer {
  int code = 200;
  std::string body = "ok\n";
  const char* type = kPlainText;
};

absl::StatusOr<std::unique_ptr<Endpoint>> Endpoint::Start(
    const std::string& address, Metrics metrics, Readiness readiness) {
  auto parsed = ParseListenAddress(address);
  if (!parsed.ok()) return parsed.status();
  if (parsed->is_unix()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "metrics cannot be served on ", address, "; give HOST:PORT"));
  }
  absl::Status status = CheckListenable(*parsed);
  if (!status.ok()) return status;
  std::unique_ptr<Endpoint> endpoint(
      new Endpoint(parsed->host, std::move(metrics), std::move(readiness)));
  status = endpoint->Listen(parsed->ToString());
  if (!status.ok()) return status;
  parsed->port = endpoint->port_;
  endpoint->url_ = absl::StrCat("http://", parsed->ToString(), "/metrics");
  return endpoint;
}

absl::Status Endpoint::Listen(const std::string& address) {
  mg_callbacks callbacks{};
  callbacks.begin_request = &OnRequest;
  callbacks.log_message = &OnLog;
  const char* options[] = {
      "listening_ports",    address.c_str(),   "num_threads", kThreads,
      "request_timeout_ms", kRequestTimeoutMs, nullptr};
  context_ = mg_start(&callbacks, this, options);
  if (context_ == nullptr) {
    MutexLock lock(&mu_);
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics on ", address, ": ", complaint_));
  }
  mg_server_port port{};
  if (mg_get_server_ports(context_, 1, &port) == 1) port_ = port.port;
  return absl::OkStatus();
}

Endpoint::~Endpoint() {
  if (context_ == nullptr) return;
  // The web server looks whether it is to end only when somebody connects, or
  // every two seconds.
  auto ended = std::async(std::launch::async, [this] { mg_stop(context_); });
  while (port_ != 0 && ended.wait_for(std::chrono::milliseconds(5)) !=
                           std::future_status::ready) {
    Knock(host_, port_);
  }
}

int Endpoint::OnLog(const mg_connection* connection, const char* message) {
  auto* const self =
      static_cast<Endpoint*>(mg_get_user_data(mg_get_context(connection)));
  if (self != nullptr) {
    MutexLock lock(&self->mu_);
    self->complaint_ = message;
  }
  return 1;  // It prints nothing itself.
}

int Endpoint::OnRequest(mg_connection* connection) {
  const mg_request_info& request = *mg_get_request_info(connection);
  const auto& self = *static_cast<const Endpoint*>(request.user_data);
  const std::string method = request.request_method;
  const Answer answer = self.AnswerTo(
      method, request.local_uri == nullptr ? "" : request.local_uri);
  const std::string head =
      absl::StrCat("HTTP/1.1 ", answer.code, " ",
                   mg_get_response_code_text(connection, answer.code),
                   "\r\nContent-Type: ", answer.type,
                   "\r\nContent-Length: ", answer.body.size(),
                   "\r\nConnection: close\r\n\r\n");
  mg_write(connection, head.data(), head.size());
  if (method != "HEAD") {
    mg_write(connection, answer.body.data(), answer.body.size());
  }
  return answer.code;
}

Endpoint::Answer Endpoint::AnswerTo(const std::string& method,
                                    const std::string& path) const {
  if (method != "GET" && method != "HEAD") {
    return {.code = 405, .body = "only GET is served\n"};
  }
  if (path == "/metrics") return {.body = Scrape(), .type = kMetricsText};
  if (path == "/healthz") return {};
  if (path == "/readyz") {
    const std::string reason = readiness_();
    if (reason.empty()) return {};
    return {.code = 503, .body = absl::StrCat(reason, "\n")};
  }
  return {.code = 404,
          .body = "not found; there are /metrics, /healthz and /readyz\n"};
}

std::string Endpoint::Scrape() const {
  std::vector<prometheus::MetricFamily> all;
  for (const auto& metrics : metrics_) {
    auto families = metrics->Collect();
    std::move(families.begin(), families.end(), std::back_inserter(all));
  }
  return prometheus::TextSerializer().Serialize(all);
}

}  // namespace ramvol::metrics
