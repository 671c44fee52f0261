// Bounds of requests and streams. docs/limits.md lists them for users.
#ifndef RAMVOL_SERVER_SERVICE_LIMITS_H_
#define RAMVOL_SERVER_SERVICE_LIMITS_H_

#include <cstddef>
#include <cstdint>

#include "base/client_memory.h"

namespace ramvol::service {

// Most bytes of data in one Read, one Write and one Io operation.
inline constexpr int64_t kMaxDataBytes = int64_t{16} << 20;

// The window of an Io stream: most unanswered operations and bytes of data.
inline constexpr size_t kMaxWindowOperations = 256;
inline constexpr int64_t kMaxWindowBytes = int64_t{32} << 20;
// The window until the server has sent `opened`.
inline constexpr size_t kMaxFirstWindowOperations = 16;
inline constexpr int64_t kMaxFirstWindowBytes = int64_t{16} << 20;

// Largest message that gRPC accepts: a full window of writes and their heads.
// Much larger than kMaxDataBytes, so that our code, not gRPC, refuses a longer
// Write, with an error that names the limit.
inline constexpr int kMaxReceiveBytes = ClientMemory::kMaxMessageBytes;

// Most results, and most bytes of results, in one IoResponse. A single result
// may be larger. Below the 4 MiB that gRPC clients accept by default.
inline constexpr size_t kMaxBatchResults = 256;
inline constexpr size_t kMaxBatchBytes = (4 << 20) - (64 << 10);
// Most bytes of volumes in one page of ListVolumes. A single volume may be
// larger. Keeps ListVolumes a small call (ClientMemory::kSmallBytes).
inline constexpr size_t kMaxPageBytes = 48 << 10;
// While this many bytes of results wait for a client to read them, its stream
// begins no further operation.
inline constexpr size_t kMaxReadyBytes = 8 << 20;

// Most open Io streams of a server.
inline constexpr size_t kMaxStreams = 4096;
// Most lost streams that one stream may replace.
inline constexpr int kMaxReplacedStreams = 64;
// Most threads that work for one stream at a time in each lane.
inline constexpr int kMaxStreamRunners = 8;
// Most operations of one stream that a thread runs before other streams get
// their turn.
inline constexpr int kMaxOperationsPerTurn = 16;

// Reads and writes of up to this many bytes may run on gRPC's threads, because
// handing them over costs more than most of them take (docs/decisions/0019).
inline constexpr int64_t kMaxInlineBytes = 64 << 10;
// The message of such a write.
inline constexpr size_t kMaxInlineMessageBytes = kMaxInlineBytes + 512;
// A write runs on gRPC's thread unless it takes longer than this, which is
// about the cost of waking another thread.
inline constexpr int64_t kWorthHandingOverNs = 50'000;
// The same for all operations of an Io message. Two threads that share them
// also need two messages for the results, which wake the client twice
// (docs/decisions/0050).
inline constexpr int64_t kMessageWorthHandingOverNs = 200'000;

inline constexpr int32_t kDefaultExtents = 1000;
inline constexpr int32_t kMaxExtents = 10000;
// The memory of one extent in an answer.
inline constexpr size_t kExtentBytes = 64;

// The memory of a unary call beside its data: gRPC's part, heads, and a volume
// or an error in the answer. Together with kMaxInlineMessageBytes, within
// ClientMemory::kSmallBytes.
inline constexpr size_t kCallBytes = 15 << 10;

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_LIMITS_H_
