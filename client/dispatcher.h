// Divides what is queued among the streams, as messages.
#ifndef RAMVOL_CLIENT_DISPATCHER_H_
#define RAMVOL_CLIENT_DISPATCHER_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "client/call_table.h"
#include "client/channel_stream.h"
#include "client/outbox.h"

namespace ramvol {

// Most operations, and most data of reads and writes, in one message (unless
// one operation alone has more). More would keep other streams idle.
inline constexpr int kMaxBatchOperations = 256;
inline constexpr int64_t kMaxBatchBytes = int64_t{1} << 20;

// Each message goes over the stream with least data unanswered, as far as that
// stream's window and `max_inflight_bytes`, the most data unanswered on all
// streams together, allow. Not thread-safe.
class Dispatcher {
 public:
  explicit Dispatcher(int64_t max_inflight_bytes)
      : max_inflight_bytes_(max_inflight_bytes) {}

  // Takes parts out of `calls` and appends the messages that are to be sent
  // with them. Their streams count as writing. Calls that write are pinned in
  // `calls` once for each of their parts, until their batch is prepared.
  void Dispatch(CallTable& calls, absl::Span<ChannelStream> streams,
                std::vector<Batch>& batches);

 private:
  ChannelStream* LeastLoaded(int64_t part_bytes,
                             absl::Span<ChannelStream> streams) const;
  bool Fits(const ChannelStream& stream, int64_t part_bytes) const;
  Batch Fill(CallTable& calls, ChannelStream& stream);

  const int64_t max_inflight_bytes_;
  uint64_t next_id_ = 1;        // Of operations; never used twice in a volume.
  int64_t inflight_bytes_ = 0;  // Of all streams, within Dispatch.
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_DISPATCHER_H_
