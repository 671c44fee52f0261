#include "server/metrics/endpoint.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <exception>
#include <future>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "proto/base/listen_address.h"

namespace ramvol::metrics {
namespace {

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

absl::StatusOr<std::unique_ptr<Endpoint>> Endpoint::Start(
    const std::string& address, Metrics metrics) {
  auto parsed = ParseListenAddress(address);
  if (!parsed.ok()) return parsed.status();
  if (parsed->is_unix()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "metrics cannot be served on ", address, "; give HOST:PORT"));
  }
  absl::Status status = CheckListenable(*parsed);
  if (!status.ok()) return status;
  std::unique_ptr<Endpoint> endpoint(
      new Endpoint(parsed->host, std::move(metrics)));
  try {
    endpoint->exposer_ =
        std::make_unique<prometheus::Exposer>(parsed->ToString());
    endpoint->port_ = endpoint->exposer_->GetListeningPorts().at(0);
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics on ", address, ": ", error.what()));
  }
  for (const auto& metrics : endpoint->metrics_) {
    endpoint->exposer_->RegisterCollectable(metrics);
  }
  parsed->port = endpoint->port_;
  endpoint->url_ = absl::StrCat("http://", parsed->ToString(), "/metrics");
  return endpoint;
}

Endpoint::~Endpoint() {
  // The web server looks whether it is to end only when somebody connects, or
  // every two seconds.
  auto ended = std::async(std::launch::async, [this] { exposer_.reset(); });
  while (port_ != 0 && ended.wait_for(std::chrono::milliseconds(5)) !=
                           std::future_status::ready) {
    Knock(host_, port_);
  }
}

}  // namespace ramvol::metrics
