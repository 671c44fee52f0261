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
#include "base/mutex.h"
#include "prometheus/collectable.h"

namespace ramvol::metrics {

// Most answers that are being sent at a time; the oldest goes for one more.
inline constexpr size_t kMaxAnswers = 16;
// How long a client may take to read its answer.
inline constexpr absl::Duration kAnswerTimeout = absl::Seconds(10);

// Serves for its own lifetime:
//   /metrics  the metrics in Prometheus' text format, never compressed: that
//             would take longer than all the rest;
//   /healthz  200 "ok": the process serves;
//   /readyz   200 "ok" when it is ready, else 503 and the reason, a line of
//             text.
//
// One thread (of Door) waits for requests and another answers them; neither
// waits for a client. Probes come before scrapes. A connection has one request.
class Endpoint {
 public:
  using Metrics = std::vector<std::shared_ptr<prometheus::Collectable>>;
  // "" when the program is ready, else why not. Called by another thread.
  using Readiness = std::function<std::string()>;

  // `address` is as in --metrics_listen, "HOST:PORT"; port 0 takes a free one.
  // INVALID_ARGUMENT when it is none, UNAVAILABLE when it cannot be bound.
  // Counts in `stats`, which is borrowed.
  static absl::StatusOr<std::unique_ptr<Endpoint>> Start(
      const std::string& address, Metrics metrics, Readiness readiness,
      DoorStats* stats);
  ~Endpoint();

  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  // "http://127.0.0.1:7421/metrics"
  const std::string& url() const { return url_; }

 private:
  struct Answer;
  // A client that is being answered. Owns the descriptor.
  struct Client;
  using Clients = std::list<std::unique_ptr<Client>>;

  Endpoint(std::vector<ListenSocket> sockets, Metrics metrics,
           Readiness readiness);

  absl::Status OpenDoor(DoorStats* stats);
  // The door's thread hands over whoever has asked for something.
  void Take(int fd, Door::Place place) ABSL_LOCKS_EXCLUDED(mu_);
  void Wake() const;

  void AnswerUntilStopped();
  // False when it is time to end.
  bool WaitAndSend() ABSL_LOCKS_EXCLUDED(mu_);
  // Takes the requests of those who came, and answers the probes.
  void Welcome(Clients arrived);
  // Answers one of those who want metrics; which takes some time.
  void AnswerNext();
  void DropLateOnes();
  Answer AnswerTo(const std::string& method, const std::string& path) const;
  std::string Scrape() const;

  const std::vector<ListenSocket> sockets_;
  const Metrics metrics_;
  const Readiness readiness_;
  const int wake_fd_;
  std::string url_;

  Clients clients_;  // The answering thread's, the oldest first.
  Mutex mu_;
  Clients arrived_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
  std::unique_ptr<Door> door_;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_BASE_METRICS_ENDPOINT_H_
