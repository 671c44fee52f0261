#include "server/connection_acceptor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "base/exposure.h"
#include "base/peer.h"
#include "grpcpp/security/server_credentials.h"
#include "server/http2/flood_budget.h"
#include "server/http2/frame_gate.h"
#include "server/http2/gated_sockets.h"

namespace ramvol::server {
namespace {

using ConnectionType =
    grpc::ServerBuilder::experimental_type::ExternalConnectionType;

// Bounds of what the kernel holds for one connection; see SetOptions.
constexpr int kUnsentBytes = 32 << 10;
constexpr int kSendBufferBytes = 256 << 10;
constexpr unsigned kUnacknowledgedMs = 20'000;

constexpr std::string_view kPreface = http2::FrameGate::kPreface;

Opening JudgePreface(std::string_view seen) {
  if (seen != kPreface.substr(0, seen.size())) return Opening::kWrong;
  return seen.size() == kPreface.size() ? Opening::kComplete
                                        : Opening::kIncomplete;
}

bool IsUnix(int fd) {
  int domain = 0;
  socklen_t bytes = sizeof(domain);
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0 &&
         domain == AF_UNIX;
}

// Only the send buffer's option has an effect on sockets other than TCP.
void SetOptions(int fd) {
  // As gRPC does for connections of its own listeners.
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  // What the kernel may hold for a client that does not read is a part of
  // ClientMemory::kBaseBytes. The timeout ends connections to a client that
  // acknowledges nothing.
  setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kUnsentBytes,
             sizeof(kUnsentBytes));
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSendBufferBytes,
             sizeof(kSendBufferBytes));
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUnacknowledgedMs,
             sizeof(kUnacknowledgedMs));
}

size_t MaxStreams(const ClientMemory& memory) {
  return std::min(http2::kMaxStreams, memory.max_open(http2::kStreamBytes));
}

void MoveTo(std::vector<ListenSocket>* all, std::vector<ListenSocket> more) {
  for (ListenSocket& socket : more) all->push_back(std::move(socket));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> ConnectionAcceptor::Create(
    const std::vector<ListenAddress>& addresses,
    const std::vector<int>& sockets, std::shared_ptr<DoorStats> stats,
    std::shared_ptr<ClientMemory> memory, Securer secure, bool insecure,
    grpc::ServerBuilder* builder) {
  std::vector<ListenSocket> all;
  for (const ListenAddress& address : addresses) {
    auto listening = ListenOn(address);
    if (!listening.ok()) return listening.status();
    MoveTo(&all, *std::move(listening));
  }
  auto passed = TakeSystemdSockets(sockets);
  if (!passed.ok()) return passed.status();
  MoveTo(&all, *std::move(passed));
  if (!secure && !insecure) {
    absl::Status refused = RefuseExposed(all, "give --tls_cert and --tls_key");
    if (!refused.ok()) return refused;
  }
  std::unique_ptr<ConnectionAcceptor> acceptor(new ConnectionAcceptor(
      std::move(all), std::move(stats), std::move(memory), builder));
  const absl::Status made = acceptor->MakeDoor(std::move(secure));
  if (!made.ok()) return made;
  return acceptor;
}

ConnectionAcceptor::ConnectionAcceptor(std::vector<ListenSocket> sockets,
                                       std::shared_ptr<DoorStats> stats,
                                       std::shared_ptr<ClientMemory> memory,
                                       grpc::ServerBuilder* builder)
    : sockets_(std::move(sockets)),
      stats_(std::move(stats)),
      memory_(std::move(memory)),
      grpc_(builder->experimental().AddExternalConnectionAcceptor(
          ConnectionType::FROM_FD, grpc::InsecureServerCredentials())) {
  const size_t streams = MaxStreams(*memory_);
  http2::BoundStreams(streams);
  // A client may have half of what is free.
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                              static_cast<int>(streams / 4));
}

absl::Status ConnectionAcceptor::MakeDoor(Securer secure) {
  DoorOptions options;
  options.protocol = "grpc";
  for (const ListenSocket& socket : sockets_) {
    options.listeners.push_back(socket.fd());
  }
  // The other half is NBD's.
  options.max_connections =
      std::min(kMaxGrpcConnections, memory_->max_open() / 2);
  options.has_room = [this] { return memory_->HasRoomToOpen(); };
  options.judge = &JudgePreface;
  options.opening_bytes = kPreface.size();
  if (secure) {
    // Of Unix sockets, the file's mode says who may connect.
    options.secure = [begin = std::move(secure)](int listener, int fd) {
      return IsUnix(listener) ? nullptr : begin(fd);
    };
  }
  options.tick = [this] {
    http2::Tend(/*others_wait=*/memory_->GetStats().waiting > 0);
  };
  auto door = Door::Make(
      std::move(options),
      [this](int listener, int fd, Door::Place place,
             std::unique_ptr<SecureStream> stream) {
        HandOver(listener, fd, std::move(place), std::move(stream));
      },
      stats_.get());
  if (!door.ok()) return door.status();
  door_ = *std::move(door);
  return absl::OkStatus();
}

std::vector<std::string> ConnectionAcceptor::addresses() const {
  std::vector<std::string> addresses;
  for (const ListenSocket& socket : sockets_) {
    if (!socket.name().empty()) addresses.push_back(socket.name());
  }
  return addresses;
}

void ConnectionAcceptor::HandOver(int listener, int fd, Door::Place place,
                                  std::unique_ptr<SecureStream> stream) {
  SetOptions(fd);
  if (!http2::Watch(fd, PeerOf(fd), memory_,
                    std::make_shared<Door::Place>(std::move(place)), stats_,
                    std::move(stream))) {
    stats_->Count(TurnedAway::kFiles);
    close(fd);
    return;
  }
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters
      connection;
  connection.listener_fd = listener;
  connection.fd = fd;
  const http2::Naming naming(fd);
  grpc_->HandleNewConnection(&connection);
}

}  // namespace ramvol::server
