#include "nbd_bridge/nbd_server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/block/thread_cache.h"
#include "base/client_memory.h"
#include "base/door.h"
#include "base/event_log.h"
#include "base/exposure.h"
#include "base/listen_socket.h"
#include "base/mutex.h"
#include "base/peer.h"
#include "base/reason.h"
#include "nbd_bridge/negotiation.h"
#include "nbd_bridge/session.h"
#include "nbd_bridge/socket.h"

namespace ramvol::nbd {
namespace {

constexpr int kMaxConnections = 65536;
// How long requests that are on their way are still taken when the server shuts
// down: the kernel's driver sends what was not answered only much later.
constexpr absl::Duration kGoodbyeTime = absl::Milliseconds(200);
// Ends a TCP connection whose peer machine is silent for about two minutes. Not
// TCP_USER_TIMEOUT: that would also end a stopped client that does not read.
constexpr int kKeepaliveIdleSeconds = 60;
constexpr int kKeepaliveIntervalSeconds = 15;
constexpr int kKeepaliveProbes = 4;

void SetTcp(int fd, int option, int value) {
  setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value));
}

// No effect on sockets other than TCP.
void TuneSocket(int fd) {
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  SetTcp(fd, TCP_NODELAY, 1);
  SetTcp(fd, TCP_KEEPIDLE, kKeepaliveIdleSeconds);
  SetTcp(fd, TCP_KEEPINTVL, kKeepaliveIntervalSeconds);
  SetTcp(fd, TCP_KEEPCNT, kKeepaliveProbes);
}

// Accepted sockets inherit the small receive buffer, so TCP's first window is
// small. Widening a window later works, taking it back does not. No effect on
// Unix sockets, where the sender's buffer counts.
void TuneListener(int fd) {
  const int bytes = static_cast<int>(Socket::kNarrowBytes);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

class Connection final : public ClientMemory::Client {
 public:
  Connection(int fd, Door::Place place, ClientMemory* memory)
      : socket(fd), holder(memory, this), place_(std::move(place)) {
    TuneSocket(fd);
    socket.Narrow();
    holder.SetPeer(PeerOf(fd));
    holder.Open();
  }
  virtual ~Connection() = default;

  std::function<void()> SendAway() override {
    LogEvent(Event::kClientSentAway, {.client = socket.Peer(),
                                      .over = "nbd",
                                      .reason = reason::kClientTooSlow});
    socket.Shutdown();
    return nullptr;
  }

  Socket socket;
  ClientMemory::Holder holder;

 private:
  const Door::Place place_;
};

absl::StatusOr<std::vector<ListenSocket>> Listen(
    const NbdAddress& address, const std::vector<int>& systemd_sockets) {
  switch (address.kind) {
    case NbdAddress::Kind::kVsock:
      return ListenOnVsock(address.vsock_port);
    case NbdAddress::Kind::kStream:
      return ListenOn(address.stream);
    case NbdAddress::Kind::kSystemd:
      break;
  }
  if (systemd_sockets.empty()) {
    return absl::InvalidArgumentError(
        "no socket was passed to this process (LISTEN_PID and LISTEN_FDS are "
        "not set for it); start it by a systemd .socket unit, or give an "
        "address to listen on");
  }
  return TakeSystemdSockets(systemd_sockets);
}

class ServerImpl final : public NbdServer {
 public:
  ServerImpl(const NbdServerOptions& options, block::Exports* exports,
             ClientMemory* memory, NbdStats* stats,
             std::vector<ListenSocket> sockets)
      : exports_(*exports),
        memory_(*memory),
        stats_(*stats),
        negotiation_{options.default_export, options.read_only, &draining_,
                     options.tls, &stats->door()},
        sockets_(std::move(sockets)) {
    for (const ListenSocket& socket : sockets_) {
      if (!socket.name().empty()) addresses_.push_back(socket.name());
    }
  }

  ~ServerImpl() override {
    if (!draining_) Shutdown(absl::ZeroDuration());
  }

  absl::Status Open(int max_connections) {
    DoorOptions options;
    options.protocol = "nbd";
    for (const ListenSocket& socket : sockets_) {
      TuneListener(socket.fd());
      options.listeners.push_back(socket.fd());
    }
    // Only as many places as there is memory for, so that FairShare divides
    // those.
    options.max_connections = std::clamp<size_t>(
        memory_.max_open(), 1, static_cast<size_t>(max_connections));
    options.has_room = [this] { return memory_.HasRoomToOpen(); };
    auto door = Door::Make(
        std::move(options),
        [this](int, int fd, Door::Place place, std::unique_ptr<SecureStream>) {
          Begin(fd, std::move(place));
        },
        &stats_.door());
    if (!door.ok()) return door.status();
    door_ = *std::move(door);
    door_->Start();
    return absl::OkStatus();
  }

  std::string WhyShut() const override { return door_->WhyShut(); }

  void Shutdown(absl::Duration drain_timeout) override {
    draining_ = true;
    if (door_ != nullptr) door_->Stop();
    sockets_.clear();
    const absl::Time deadline = absl::Now() + drain_timeout;
    MutexLock lock(&mu_);
    // From now on, nothing can be sent to Unix sockets, and what was sent is
    // answered. Over TCP, clients may go on.
    for (Connection* connection : connections_) {
      connection->socket.ShutdownReceiving();
    }
    const absl::Time goodbye = std::min(deadline, absl::Now() + kGoodbyeTime);
    while (!connections_.empty() &&
           !changed_.WaitFor(&mu_, goodbye - absl::Now())) {
    }
    ignoring_ = true;
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
  void Begin(int fd, Door::Place place) ABSL_LOCKS_EXCLUDED(mu_) {
    // The door's sockets are non-blocking. Sessions block in recv.
    fcntl(fd, F_SETFL, 0);
    const auto connection =
        std::make_shared<Connection>(fd, std::move(place), &memory_);
    {
      MutexLock lock(&mu_);
      connections_.insert(connection.get());
    }
    stats_.ConnectionOpened();
    const bool started = threads_.Run([this, connection] {
      Serve(connection);
      Forget(connection.get());
    });
    if (!started) Forget(connection.get());
  }

  void Serve(const std::shared_ptr<Connection>& shared) {
    Connection& connection = *shared;
    const auto end = [weak = std::weak_ptr<Connection>(shared)] {
      if (const auto open = weak.lock()) open->socket.Shutdown();
    };
    const std::unique_ptr<block::Exports> own = exports_.For(
        {.fd = connection.socket.fd(),
         .address = connection.socket.Peer(),
         .proven = [&socket = connection.socket]() -> const PeerNames& {
           return socket.peer_names();
         },
         .end = end});
    auto negotiated = Negotiate(connection.socket,
                                own == nullptr ? exports_ : *own, negotiation_);
    if (!negotiated.has_value()) return;
    Session(connection.socket, connection.holder, *std::move(negotiated),
            {threads_, stats_, draining_, ignoring_})
        .Run();
  }

  void Forget(Connection* connection) ABSL_LOCKS_EXCLUDED(mu_) {
    stats_.ConnectionClosed();
    // Tells the peer now. The descriptor closes with the last owner.
    connection->socket.Finish();
    MutexLock lock(&mu_);
    connections_.erase(connection);
    changed_.SignalAll();
  }

  block::Exports& exports_;
  ClientMemory& memory_;
  NbdStats& stats_;
  const NegotiationOptions negotiation_;
  std::vector<ListenSocket> sockets_;  // The door borrows them.
  std::vector<std::string> addresses_;
  std::atomic<bool> draining_{false};
  std::atomic<bool> ignoring_{false};

  Mutex mu_;
  CondVar changed_;
  absl::flat_hash_set<Connection*> connections_ ABSL_GUARDED_BY(mu_);

  // Joins the connections' threads, so it must be destroyed before what they
  // use.
  block::ThreadCache threads_;
  std::unique_ptr<Door> door_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<NbdServer>> NbdServer::Start(
    const NbdServerOptions& options, block::Exports* exports,
    ClientMemory* memory, NbdStats* stats) {
  if (options.max_connections < 1 ||
      options.max_connections > kMaxConnections) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_connections is ", options.max_connections,
                     "; give 1 to ", kMaxConnections));
  }
  std::vector<ListenSocket> sockets;
  for (const NbdAddress& address : options.listen) {
    auto listening = Listen(address, options.systemd_sockets);
    if (!listening.ok()) return listening.status();
    for (ListenSocket& socket : *listening) {
      sockets.push_back(std::move(socket));
    }
  }
  if (options.tls.mode != NbdTls::Mode::kRequire && !options.insecure) {
    absl::Status refused =
        RefuseExposed(sockets, "let clients encrypt, by --nbd_tls=require");
    if (!refused.ok()) return refused;
  }
  auto server = std::make_unique<ServerImpl>(options, exports, memory, stats,
                                             std::move(sockets));
  absl::Status opened = server->Open(options.max_connections);
  if (!opened.ok()) return opened;
  return server;
}

}  // namespace ramvol::nbd
