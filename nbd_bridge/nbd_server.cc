#include "nbd_bridge/nbd_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "nbd_bridge/buffer_budget.h"
#include "nbd_bridge/listen_socket.h"
#include "nbd_bridge/negotiation.h"
#include "nbd_bridge/session.h"
#include "nbd_bridge/socket.h"
#include "nbd_bridge/thread_cache.h"
#include "proto/base/mutex.h"

namespace ramvol::nbd {
namespace {

constexpr int kMaxConnections = 65536;
// How long clients are not yet sent away when the server shuts down.
constexpr absl::Duration kGoodbyeTime = absl::Milliseconds(200);
// Before accepting is tried again, when the system has no descriptors left.
constexpr int kRetryAcceptMs = 100;
// A TCP client whose machine answers nothing for about two minutes is gone. (No
// TCP_USER_TIMEOUT: it would also end one that is stopped, and does not read.)
constexpr int kKeepaliveIdleSeconds = 60;
constexpr int kKeepaliveIntervalSeconds = 15;
constexpr int kKeepaliveProbes = 4;

void SetTcp(int fd, int option, int value) {
  setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value));
}

// Without effect on sockets that are not TCP.
void TuneSocket(int fd) {
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  SetTcp(fd, TCP_NODELAY, 1);
  SetTcp(fd, TCP_KEEPIDLE, kKeepaliveIdleSeconds);
  SetTcp(fd, TCP_KEEPINTVL, kKeepaliveIntervalSeconds);
  SetTcp(fd, TCP_KEEPCNT, kKeepaliveProbes);
}

struct Connection {
  Connection(int fd, BufferBudget* budget) : socket(fd), buffers(budget) {}

  Socket socket;
  BufferHolder buffers;
};

class ServerImpl final : public NbdServer {
 public:
  ServerImpl(const NbdServerOptions& options, Exports* exports, NbdStats* stats,
             std::vector<ListenSocket> sockets, int wake_fd)
      : exports_(*exports),
        stats_(*stats),
        negotiation_{options.default_export, options.read_only, &draining_},
        max_connections_(static_cast<size_t>(options.max_connections)),
        buffers_(options.buffer_bytes),
        patience_(options.patience),
        sockets_(std::move(sockets)),
        wake_fd_(wake_fd) {
    for (const ListenSocket& socket : sockets_) {
      if (!socket.name().empty()) addresses_.push_back(socket.name());
    }
    acceptor_ = std::thread([this] { AcceptUntilDrained(); });
  }

  ~ServerImpl() override {
    if (acceptor_.joinable()) Shutdown(absl::ZeroDuration());
    close(wake_fd_);
  }

  void Shutdown(absl::Duration drain_timeout) override {
    draining_ = true;
    WakeAcceptor();
    acceptor_.join();
    sockets_.clear();
    const absl::Time deadline = absl::Now() + drain_timeout;
    MutexLock lock(&mu_);
    // Who sends meanwhile gets ESHUTDOWN, and may leave by itself.
    const absl::Time goodbye = std::min(deadline, absl::Now() + kGoodbyeTime);
    while (!connections_.empty() &&
           !changed_.WaitFor(&mu_, goodbye - absl::Now())) {
    }
    // What has arrived is still answered.
    for (Connection* connection : connections_) {
      connection->socket.ShutdownReceiving();
    }
    while (!connections_.empty() &&
           !changed_.WaitFor(&mu_, deadline - absl::Now())) {
    }
    for (Connection* connection : connections_) connection->socket.Shutdown();
    while (!connections_.empty()) changed_.Wait(&mu_);
  }

  const std::vector<std::string>& addresses() const override {
    return addresses_;
  }

 private:
  void WakeAcceptor() {
    const uint64_t one = 1;
    // Fails only when it is awake anyway.
    [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof(one));
  }

  void AcceptUntilDrained() {
    while (!draining_) {
      std::vector<pollfd> waits = {{wake_fd_, POLLIN, 0}};
      const bool room = HasRoom();
      for (const ListenSocket& socket : sockets_) {
        if (room) waits.push_back({socket.fd(), POLLIN, 0});
      }
      if (poll(waits.data(), waits.size(), -1) < 0) continue;
      if (waits[0].revents != 0) ReadWakeUps();
      for (size_t i = 1; i < waits.size(); ++i) {
        if (waits[i].revents != 0) AcceptOne(waits[i].fd);
      }
    }
  }

  void ReadWakeUps() {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(wake_fd_, &count, sizeof(count));
  }

  bool HasRoom() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return connections_.size() < max_connections_;
  }

  void AcceptOne(int listener) ABSL_LOCKS_EXCLUDED(mu_) {
    if (!HasRoom()) return;
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) {
      // Else poll would return at once, again and again.
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
          errno == ENOBUFS) {
        poll(nullptr, 0, kRetryAcceptMs);
      }
      return;
    }
    TuneSocket(fd);
    const auto connection = std::make_shared<Connection>(fd, &buffers_);
    {
      MutexLock lock(&mu_);
      connections_.insert(connection.get());
    }
    stats_.ConnectionOpened();
    const bool started = threads_.Run([this, connection] {
      Serve(*connection);
      Forget(connection.get());
    });
    if (!started) Forget(connection.get());
  }

  void Serve(Connection& connection) {
    auto negotiated = Negotiate(connection.socket, exports_, negotiation_);
    if (!negotiated.has_value()) return;
    Session(connection.socket, connection.buffers, *std::move(negotiated),
            {threads_, stats_, draining_, patience_, starved_})
        .Run();
  }

  // Sends away those for whom others wait.
  void EndStuckConnections() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    for (Connection* connection : connections_) {
      if (connection->buffers.held_bytes() > BufferBudget::kReservedBytes &&
          connection->socket.SinceProgress() >= patience_) {
        connection->socket.Shutdown();
      }
    }
  }

  void Forget(Connection* connection) ABSL_LOCKS_EXCLUDED(mu_) {
    stats_.ConnectionClosed();
    // The peer sees the end now; the descriptor goes with its owner.
    connection->socket.Shutdown();
    MutexLock lock(&mu_);
    const bool was_full = connections_.size() == max_connections_;
    connections_.erase(connection);
    changed_.SignalAll();
    if (was_full) WakeAcceptor();
  }

  Exports& exports_;
  NbdStats& stats_;
  const NegotiationOptions negotiation_;
  const size_t max_connections_;
  BufferBudget buffers_;
  const absl::Duration patience_;
  const std::function<void()> starved_ = [this] { EndStuckConnections(); };
  std::vector<ListenSocket> sockets_;  // Of the acceptor, while it runs.
  std::vector<std::string> addresses_;
  const int wake_fd_;
  std::atomic<bool> draining_{false};

  Mutex mu_;
  CondVar changed_;
  absl::flat_hash_set<Connection*> connections_ ABSL_GUARDED_BY(mu_);

  // Ends when all connections have.
  ThreadCache threads_;
  std::thread acceptor_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<NbdServer>> NbdServer::Start(
    const NbdServerOptions& options, Exports* exports, NbdStats* stats) {
  if (options.max_connections < 1 ||
      options.max_connections > kMaxConnections) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_connections is ", options.max_connections,
                     "; give 1 to ", kMaxConnections));
  }
  if (options.buffer_bytes < kMinBufferBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("buffer_bytes is ", options.buffer_bytes,
                     "; give at least ", kMinBufferBytes));
  }
  std::vector<ListenSocket> sockets;
  for (const NbdAddress& address : options.listen) {
    auto listening = Listen(address, options.systemd_sockets);
    if (!listening.ok()) return listening.status();
    for (ListenSocket& socket : *listening) {
      sockets.push_back(std::move(socket));
    }
  }
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    return absl::UnavailableError(
        absl::StrCat("no eventfd: ", std::strerror(errno)));
  }
  return std::make_unique<ServerImpl>(options, exports, stats,
                                      std::move(sockets), wake_fd);
}

}  // namespace ramvol::nbd
