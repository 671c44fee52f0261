#include "server/connection_acceptor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/security/server_credentials.h"
#include "proto/base/systemd.h"

namespace ramvol::server {
namespace {

using ConnectionType =
    grpc::ServerBuilder::experimental_type::ExternalConnectionType;

// Before accepting is tried again, when the system has no descriptors left.
constexpr int kRetryAcceptMs = 100;

}  // namespace

absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> ConnectionAcceptor::Create(
    const std::vector<int>& sockets, grpc::ServerBuilder* builder) {
  for (const int fd : sockets) {
    absl::Status status = PrepareSystemdSocket(fd);
    if (!status.ok()) return status;
  }
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    return absl::UnavailableError(
        absl::StrCat("no eventfd: ", std::strerror(errno)));
  }
  return std::unique_ptr<ConnectionAcceptor>(
      new ConnectionAcceptor(sockets, wake_fd, builder));
}

ConnectionAcceptor::ConnectionAcceptor(std::vector<int> sockets, int wake_fd,
                                       grpc::ServerBuilder* builder)
    : sockets_(std::move(sockets)),
      wake_fd_(wake_fd),
      grpc_(builder->experimental().AddExternalConnectionAcceptor(
          ConnectionType::FROM_FD, grpc::InsecureServerCredentials())) {}

ConnectionAcceptor::~ConnectionAcceptor() {
  Stop();
  for (const int fd : sockets_) close(fd);
  close(wake_fd_);
}

void ConnectionAcceptor::Start() {
  thread_ = std::thread([this] { AcceptUntilWoken(); });
}

void ConnectionAcceptor::Stop() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  // Fails only when the thread is awake anyway.
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof(one));
  thread_.join();
}

std::vector<std::string> ConnectionAcceptor::addresses() const {
  std::vector<std::string> addresses;
  for (const int fd : sockets_) addresses.push_back(SocketAddress(fd));
  return addresses;
}

void ConnectionAcceptor::AcceptUntilWoken() {
  std::vector<pollfd> waits = {{wake_fd_, POLLIN, 0}};
  for (const int fd : sockets_) waits.push_back({fd, POLLIN, 0});
  while (waits[0].revents == 0) {
    if (poll(waits.data(), waits.size(), -1) < 0) continue;
    for (size_t i = 1; i < waits.size(); ++i) {
      if (waits[i].revents != 0) AcceptOne(waits[i].fd);
    }
  }
}

void ConnectionAcceptor::AcceptOne(int listener) {
  const int fd =
      accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) {
    // Else poll would return at once, again and again.
    if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
      poll(nullptr, 0, kRetryAcceptMs);
    }
    return;
  }
  // As gRPC does for its own; without effect on sockets that are not TCP.
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters
      connection;
  connection.listener_fd = listener;
  connection.fd = fd;
  grpc_->HandleNewConnection(&connection);
}

}  // namespace ramvol::server
