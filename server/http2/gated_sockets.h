// Shows what passes through gRPC's sockets to a FrameGate each.
//
// gRPC 1.51 has no bound of its own on rapid resets and the like, and no place
// for one of ours. A proxy in front would copy every byte twice. So this
// program defines recvmsg, sendmsg and close, which gRPC's library calls: the
// dynamic linker prefers the program's. They do what the C library's do, and
// for the sockets that are watched also look at the frames' heads (some ns a
// frame).
//
// Should gRPC begin to use other functions (io_uring, recv, TLS in between),
// the gates see nothing, and door_test.py fails: they have to be told anew
// then.
#ifndef RAMVOL_SERVER_HTTP2_GATED_SOCKETS_H_
#define RAMVOL_SERVER_HTTP2_GATED_SOCKETS_H_

#include <memory>
#include <string>

#include "base/door_stats.h"

namespace ramvol::http2 {

// All functions are thread-safe, and for the whole process.

// Descriptors from here on cannot be watched.
inline constexpr int kMaxGatedFd = 1 << 17;

// Watches a server's connection from its first byte until it is closed, and
// then drops `hold`. A flood ends it, and is counted in `stats`. `peer` is as
// PeerOf says. False, and nothing happens, when the descriptor is not below
// kMaxGatedFd.
bool Watch(int fd, const std::string& peer, std::shared_ptr<const void> hold,
           std::shared_ptr<DoorStats> stats);

// Ends those whose headers are late. Call it about every second.
void EndLateOnes();

// While `others_wait` for memory, ends those whose clients take less than
// kMinSlowBytes in kMaxSlowNs of what is there for them. So bytes that gRPC has
// taken over from their calls, where no call's end takes them back, are
// nobody's for long. Call it about every second.
void EndSlowOnes(bool others_wait);

inline constexpr int64_t kMaxSlowNs = 10'000'000'000;
inline constexpr uint64_t kMinSlowBytes = uint64_t{10} << 20;

// Bytes that gates were shown, in both directions.
uint64_t WatchedBytesForTest();

}  // namespace ramvol::http2

#endif  // RAMVOL_SERVER_HTTP2_GATED_SOCKETS_H_
