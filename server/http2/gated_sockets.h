// Shows what passes through gRPC's sockets to a WatchedConnection each.
//
// gRPC 1.51 has no bound of its own on rapid resets and the like, and no place
// for one of ours. Its bound on memory, the resource quota, holds twice as much
// and breaks calls of its choice; when it is used up, gRPC frees buffers that
// are being read. A proxy in front would copy every byte twice. So this
// program defines recvmsg, sendmsg and close, which gRPC's library calls: the
// dynamic linker prefers the program's. They do what the C library's do, and
// for the sockets that are watched also look at the frames (some ns each), and
// hold WINDOW_UPDATEs back.
//
// TLS ends here, too (docs/decisions/0044): gRPC and the gates see what is
// inside. And getpeername tells gRPC names of its connections that are never
// another's, which FindPeer knows.
//
// Should gRPC begin to use other functions (io_uring, recv), the gates see
// nothing, and door_test.py fails: they have to be told anew then.
#ifndef RAMVOL_SERVER_HTTP2_GATED_SOCKETS_H_
#define RAMVOL_SERVER_HTTP2_GATED_SOCKETS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/call_peer.h"
#include "base/client_memory.h"
#include "base/door_stats.h"
#include "base/secure_stream.h"

namespace ramvol::http2 {

// All functions are thread-safe, and for the whole process.

// Descriptors from here on cannot be watched.
inline constexpr int kMaxGatedFd = 1 << 17;

// Watches a server's connection from its first byte until it is closed, and
// then drops `hold`. Charges it, and what arrives on it, to `memory`, as a
// client of the machine `peer` (see PeerOf). A flood ends it, and is counted in
// `stats`. If there is `secure`, its handshake must be done. False, and nothing
// happens, when the descriptor is not below kMaxGatedFd.
bool Watch(int fd, std::string peer, std::shared_ptr<ClientMemory> memory,
           std::shared_ptr<const void> hold, std::shared_ptr<DoorStats> stats,
           std::unique_ptr<SecureStream> secure = nullptr);

// While it lives, getpeername tells this thread the name of a watched
// connection, "/NUMBER/ADDRESS" as of a Unix socket: so gRPC takes it for the
// peer's, in "unix:/NUMBER/ADDRESS" (see PeerText and PeerOf).
class Naming {
 public:
  explicit Naming(int fd);
  ~Naming();
  Naming(const Naming&) = delete;
  Naming& operator=(const Naming&) = delete;
};

// Of the connection that gRPC knows as `grpc_peer`, as
// grpc::ServerContext::peer() returns it. Null when it is closed, or was not
// watched.
std::shared_ptr<const CallPeer> FindPeer(std::string_view grpc_peer);

// All connections together may have so many calls open from now on.
void BoundStreams(size_t most);

// Ends connections whose headers are late. While `others_wait` for memory, also
// ends those whose clients take less than kMinSlowBytes in kMaxSlowNs of what
// is there for them. So bytes that gRPC has taken over from their calls, where
// no call's end takes them back, are nobody's for long. Call it about every
// second.
void Tend(bool others_wait);

// Bytes that gates were shown, in both directions.
uint64_t WatchedBytesForTest();

}  // namespace ramvol::http2

#endif  // RAMVOL_SERVER_HTTP2_GATED_SOCKETS_H_
