// Bounds of what one request, one stream and all streams may ask for.
// ARCHITECTURE.md, "Limits", lists them for users.
#ifndef RAMVOL_SERVER_SERVICE_LIMITS_H_
#define RAMVOL_SERVER_SERVICE_LIMITS_H_

#include <cstddef>
#include <cstdint>

#include "base/client_memory.h"

namespace ramvol::service {

// Most bytes of data in one Read, one Write and one Io operation.
inline constexpr int64_t kMaxDataBytes = int64_t{16} << 20;

// Window of an Io stream: most operations, and most bytes of data, unanswered.
inline constexpr size_t kMaxWindowOperations = 256;
inline constexpr int64_t kMaxWindowBytes = int64_t{32} << 20;
// The same until the server has sent `opened`.
inline constexpr size_t kMaxFirstWindowOperations = 16;
inline constexpr int64_t kMaxFirstWindowBytes = int64_t{16} << 20;

// Largest request that gRPC takes in: a full window of writes and their heads.
// Larger than kMaxDataBytes by far, so that a unary Write past that is refused
// by us, with a message that names the limit.
inline constexpr int kMaxReceiveBytes = ClientMemory::kMaxMessageBytes;

// Most results, and most bytes of results, in one IoResponse; one result may be
// larger by itself. Below the 4 MiB that gRPC's clients accept by default.
inline constexpr size_t kMaxBatchResults = 256;
inline constexpr size_t kMaxBatchBytes = (4 << 20) - (64 << 10);
// Most bytes of volumes in one page of ListVolumes; one may be larger by
// itself. So a page is a small call's (ClientMemory::kSmallBytes).
inline constexpr size_t kMaxPageBytes = 48 << 10;
// While so many bytes of results wait for a client to read, its stream begins
// no further operation.
inline constexpr size_t kMaxReadyBytes = 8 << 20;

// Most Io streams of a server at a time.
inline constexpr size_t kMaxStreams = 4096;
// Most streams that one stream replaces.
inline constexpr int kMaxReplacedStreams = 64;
// Most threads that work for one stream at a time, in each lane.
inline constexpr int kMaxStreamRunners = 8;
// Most operations of one stream that a thread runs before other streams' turn.
inline constexpr int kMaxOperationsPerTurn = 16;

// Reads and writes of at most so many bytes may run on gRPC's own threads:
// handing them over costs more than most of them take (ARCHITECTURE.md,
// "Decisions").
inline constexpr int64_t kMaxInlineBytes = 64 << 10;
// Such a write with its head.
inline constexpr size_t kMaxInlineMessageBytes = kMaxInlineBytes + 512;
// Unless those that came together take longer than this: it is about what it
// costs to hand them to another thread.
inline constexpr int64_t kWorthHandingOverNs = 50'000;

inline constexpr int32_t kDefaultExtents = 1000;
inline constexpr int32_t kMaxExtents = 10000;
// What one takes in an answer.
inline constexpr size_t kExtentBytes = 64;

// What a unary call takes beside its data: gRPC's part, heads, and a volume or
// an error in the answer.
// With kMaxInlineMessageBytes it is a small call's, ClientMemory::kSmallBytes.
inline constexpr size_t kCallBytes = 15 << 10;

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_LIMITS_H_
