// Accepts gRPC's connections.
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
#include "base/secure_stream.h"
#include "grpcpp/server_builder.h"

namespace ramvol::server {

// Most connections at a time; fewer if descriptors or memory are short.
inline constexpr size_t kMaxGrpcConnections = 4096;

// Accepts connections and hands those that begin with HTTP/2's preface to a
// gRPC server. http2::FrameGate watches them for floods. gRPC's own listeners
// have no bounds, and stop for good when descriptors run out (CVE-2023-4785).
// With TLS, those over TCP must first agree on HTTP/2.
// Only the accessors are thread-safe.
class ConnectionAcceptor {
 public:
  // Binds the addresses, takes over `sockets`, which already listen, and
  // registers with `builder`, whose server must outlive Stop. UNAVAILABLE names
  // what cannot be listened on. Charges each connection to `memory`;
  // connections wait while it is full. Encrypts those over TCP if there is
  // `secure`; without, and without `insecure`, see RefuseExposed.
  static absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> Create(
      const std::vector<ListenAddress>& addresses,
      const std::vector<int>& sockets, std::shared_ptr<DoorStats> stats,
      std::shared_ptr<ClientMemory> memory, Securer secure, bool insecure,
      grpc::ServerBuilder* builder);

  ConnectionAcceptor(const ConnectionAcceptor&) = delete;
  ConnectionAcceptor& operator=(const ConnectionAcceptor&) = delete;

  // Starts to accept. Call this after the server is built.
  void Start() { door_->Start(); }
  // See Door::Stop.
  void Stop() { door_->Stop(); }

  // The bound addresses, and the SocketAddress of each passed socket.
  std::vector<std::string> addresses() const;
  // See Door.
  std::string WhyShut() const { return door_->WhyShut(); }
  size_t connections() const { return door_->inside(); }

 private:
  ConnectionAcceptor(std::vector<ListenSocket> sockets,
                     std::shared_ptr<DoorStats> stats,
                     std::shared_ptr<ClientMemory> memory,
                     grpc::ServerBuilder* builder);

  absl::Status MakeDoor(Securer secure);
  void HandOver(int listener, int fd, Door::Place place,
                std::unique_ptr<SecureStream> stream);

  const std::vector<ListenSocket> sockets_;
  const std::shared_ptr<DoorStats> stats_;
  const std::shared_ptr<ClientMemory> memory_;
  const std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> grpc_;
  std::unique_ptr<Door> door_;
};

}  // namespace ramvol::server

#endif  // RAMVOL_SERVER_CONNECTION_ACCEPTOR_H_
