// The HTTP server for Prometheus and for probes.
#ifndef RAMVOL_BASE_METRICS_ENDPOINT_H_
#define RAMVOL_BASE_METRICS_ENDPOINT_H_

#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/door.h"
#include "base/door_stats.h"
#include "base/listen_socket.h"
#include "base/metrics/host_rule.h"
#include "base/metrics/http_pages.h"
#include "base/mutex.h"
#include "base/secure_stream.h"
#include "prometheus/collectable.h"

namespace ramvol::metrics {

// Most answers to probes and scrapes under way at a time. One more ends the
// oldest. Pages have places of their own, so that no browser ends a scrape.
inline constexpr size_t kMaxAnswers = 16;
inline constexpr size_t kMaxPageAnswers = 32;
// Most pages that wait to be made. Further requests for pages get 503.
inline constexpr size_t kMaxWaitingPages = 8;
// How long a client may take to read its answer.
inline constexpr absl::Duration kAnswerTimeout = absl::Seconds(10);

// Serves for its own lifetime:
//   /metrics  the metrics in Prometheus' text format, never compressed
//             (docs/decisions/0029);
//   /healthz  200 "ok": the process serves;
//   /readyz   200 "ok" when it is ready, else 503 and the reason, a line of
//             text;
//   and what pages it is given, to the hosts that `hosts` allows; others get
//   421.
// Metrics and pages are for those alone whom a guard lets in; others get 401.
//
// Metrics and probes are served for any Host: Prometheus, kubelets and load
// balancers use names that the program does not know.
//
// The door's thread waits for requests and another thread answers them; neither
// waits for a client. Probes are answered before scrapes, and scrapes before
// pages. Each connection serves one request.
class Endpoint {
 public:
  using Metrics = std::vector<std::shared_ptr<prometheus::Collectable>>;
  // "" when the program is ready, else why not. Called on another thread.
  using Readiness = std::function<std::string()>;
  // Whether a request with this Authorization field may see metrics and pages.
  // Called on another thread; quick.
  using Guard = std::function<bool(std::string_view authorization)>;

  // `address` is as in --metrics_listen, "HOST:PORT"; port 0 takes a free one.
  // INVALID_ARGUMENT when it is malformed, UNAVAILABLE when it cannot be bound.
  // Borrows `stats` and `pages`. Encrypts all connections if there is `secure`;
  // without, and without `insecure`, see RefuseExposed. Without a `guard`,
  // everyone may see everything.
  static absl::StatusOr<std::unique_ptr<Endpoint>> Start(
      const std::string& address, Metrics metrics, Readiness readiness,
      DoorStats* stats, HttpPages* pages = nullptr, HostRule hosts = {},
      Securer secure = nullptr, bool insecure = false, Guard guard = nullptr);
  ~Endpoint();

  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  // "http://127.0.0.1:7421/metrics", or "https://...".
  const std::string& url() const { return url_; }

 private:
  // A client that is being answered. Owns the descriptor.
  struct Client;
  using Clients = std::list<std::unique_ptr<Client>>;

  Endpoint(std::vector<ListenSocket> sockets, Metrics metrics,
           Readiness readiness, HttpPages* pages, HostRule hosts, bool secure,
           Guard guard);

  absl::Status OpenDoor(DoorStats* stats, Securer secure);
  // Called by the door's thread for each client whose request has arrived.
  void Take(int fd, Door::Place place, std::unique_ptr<SecureStream> stream)
      ABSL_LOCKS_EXCLUDED(mu_);
  void Wake() const;

  void AnswerUntilStopped();
  // False when the thread should end.
  bool WaitAndSend() ABSL_LOCKS_EXCLUDED(mu_);
  // Reads the requests of new clients, and answers probes and files.
  void Welcome(Clients arrived);
  void AnswerAtOnce(Client& client) const;
  // Answers one scrape or, if none waits, makes one page.
  void AnswerNext();
  void DropLateOnes();
  // Closes the oldest connections that want pages (or that do not) until `most`
  // are left.
  void DropBeyond(size_t most, bool of_pages);
  size_t waiting_pages() const;
  HttpAnswer Probe(const std::string& path) const;
  HttpAnswer Make(const HttpRequest& request) const;
  std::string Scrape() const;

  const std::vector<ListenSocket> sockets_;
  const Metrics metrics_;
  const Readiness readiness_;
  HttpPages* const pages_;
  const HostRule hosts_;
  const Guard guard_;  // Null: no one has to say who they are.
  const int wake_fd_;
  std::string url_;

  Clients clients_;  // Used by the answering thread only; oldest first.
  Mutex mu_;
  Clients arrived_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
  std::unique_ptr<Door> door_;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_BASE_METRICS_ENDPOINT_H_
