#include "server/metrics/endpoint.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <exception>
#include <future>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

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
    const std::string& host, int port,
    std::shared_ptr<prometheus::Collectable> metrics) {
  const bool ipv6 = absl::StrContains(host, ":");
  const std::string address = ipv6 ? absl::StrCat("[", host, "]:", port)
                                   : absl::StrCat(host, ":", port);
  std::unique_ptr<Endpoint> endpoint(new Endpoint(host, std::move(metrics)));
  try {
    endpoint->exposer_ = std::make_unique<prometheus::Exposer>(address);
    endpoint->port_ = endpoint->exposer_->GetListeningPorts().at(0);
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics on ", address, ": ", error.what()));
  }
  endpoint->exposer_->RegisterCollectable(endpoint->metrics_);
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
