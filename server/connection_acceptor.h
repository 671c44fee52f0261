// gRPC over sockets that listen already, as systemd passes them.
#ifndef RAMVOL_SERVER_CONNECTION_ACCEPTOR_H_
#define RAMVOL_SERVER_CONNECTION_ACCEPTOR_H_

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "grpcpp/server_builder.h"

namespace ramvol::server {

// Accepts connections and hands them to a gRPC server. gRPC itself can only
// listen on addresses. Not thread-safe.
class ConnectionAcceptor {
 public:
  // Takes the sockets over, to be closed with it, and registers with `builder`,
  // whose server must outlive Stop. UNAVAILABLE when one is no listening
  // socket.
  static absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> Create(
      const std::vector<int>& sockets, grpc::ServerBuilder* builder);
  ~ConnectionAcceptor();

  ConnectionAcceptor(const ConnectionAcceptor&) = delete;
  ConnectionAcceptor& operator=(const ConnectionAcceptor&) = delete;

  // Begins to accept. Call it once the server is built.
  void Start();
  // Accepts no more; returns when that is so. What waits in the sockets stays
  // there for whoever holds them, too.
  void Stop();

  // Of each socket, as SocketAddress.
  std::vector<std::string> addresses() const;

 private:
  ConnectionAcceptor(std::vector<int> sockets, int wake_fd,
                     grpc::ServerBuilder* builder);

  void AcceptUntilWoken();
  void AcceptOne(int listener);

  const std::vector<int> sockets_;
  const int wake_fd_;
  const std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> grpc_;
  std::thread thread_;
};

}  // namespace ramvol::server

#endif  // RAMVOL_SERVER_CONNECTION_ACCEPTOR_H_
