// Where gRPC's connections come in.
#ifndef RAMVOL_SERVER_CONNECTION_ACCEPTOR_H_
#define RAMVOL_SERVER_CONNECTION_ACCEPTOR_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/client_memory.h"
#include "base/door.h"
#include "base/door_stats.h"
#include "base/listen_address.h"
#include "base/listen_socket.h"
#include "grpcpp/server_builder.h"

namespace ramvol::server {

// Most connections at a time, if there are descriptors for them.
inline constexpr size_t kMaxGrpcConnections = 4096;

// Accepts connections and hands those to a gRPC server that begin with the
// preface of HTTP/2, watched for floods by http2::FrameGate. gRPC's own
// listeners bound nothing, and stop for good when descriptors run out
// (CVE-2023-4785). Not thread-safe, but for the accessors.
class ConnectionAcceptor {
 public:
  // Binds the addresses, takes the sockets over, which listen already, to be
  // closed with it, and registers with `builder`, whose server must outlive
  // Stop. UNAVAILABLE names what cannot be listened on. Counts in `stats`.
  // Charges each connection to `memory`; while there is none, more wait.
  static absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> Create(
      const std::vector<ListenAddress>& addresses,
      const std::vector<int>& sockets, std::shared_ptr<DoorStats> stats,
      std::shared_ptr<ClientMemory> memory, grpc::ServerBuilder* builder);

  ConnectionAcceptor(const ConnectionAcceptor&) = delete;
  ConnectionAcceptor& operator=(const ConnectionAcceptor&) = delete;

  // Begins to accept. Call it once the server is built.
  void Start() { door_->Start(); }
  // As Door::Stop.
  void Stop() { door_->Stop(); }

  // The addresses as they were bound; of each socket, as SocketAddress.
  std::vector<std::string> addresses() const;
  // As Door's.
  std::string WhyShut() const { return door_->WhyShut(); }
  size_t connections() const { return door_->inside(); }

 private:
  ConnectionAcceptor(std::vector<ListenSocket> sockets,
                     std::shared_ptr<DoorStats> stats,
                     std::shared_ptr<ClientMemory> memory,
                     grpc::ServerBuilder* builder);

  absl::Status MakeDoor();
  void HandOver(int listener, int fd, Door::Place place);

  const std::vector<ListenSocket> sockets_;
  const std::shared_ptr<DoorStats> stats_;
  const std::shared_ptr<ClientMemory> memory_;
  const std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> grpc_;
  std::unique_ptr<Door> door_;
};

}  // namespace ramvol::server

#endif  // RAMVOL_SERVER_CONNECTION_ACCEPTOR_H_
