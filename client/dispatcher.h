// Forms messages out of queued parts, and divides them among the streams.
#ifndef RAMVOL_CLIENT_DISPATCHER_H_
#define RAMVOL_CLIENT_DISPATCHER_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "client/call_table.h"
#include "client/channel_stream.h"
#include "client/outbox.h"

namespace ramvol {

// Most operations, and most data of reads and writes, in one message. A single
// operation may have more data. Larger messages would leave other streams idle.
inline constexpr int kMaxBatchOperations = 256;
inline constexpr int64_t kMaxBatchBytes = int64_t{1} << 20;

// Each message goes over the stream with the least unanswered data. Two bounds
// hold: the stream's window, and `max_inflight_bytes` for the unanswered data
// of all streams together. Not thread-safe.
class Dispatcher {
 public:
  explicit Dispatcher(int64_t max_inflight_bytes)
      : max_inflight_bytes_(max_inflight_bytes) {}

  // Takes parts out of `calls` and appends messages of them to `batches`. From
  // then on, the messages' streams count as writing. A call that writes is
  // pinned in `calls` once for each of its parts. The caller unpins it when the
  // batch is prepared.
  void Dispatch(CallTable& calls, absl::Span<ChannelStream> streams,
                std::vector<Batch>& batches);

 private:
  ChannelStream* LeastLoaded(int64_t part_bytes,
                             absl::Span<ChannelStream> streams) const;
  bool Fits(const ChannelStream& stream, int64_t part_bytes) const;
  Batch Fill(CallTable& calls, ChannelStream& stream);

  const int64_t max_inflight_bytes_;
  uint64_t next_id_ = 1;  // For operations. No id is used twice in a volume.
  int64_t inflight_bytes_ = 0;  // Sum over all streams. Used within Dispatch.
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_DISPATCHER_H_
