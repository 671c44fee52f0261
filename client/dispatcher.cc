#include "client/dispatcher.h"

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "client/call.h"
#include "client/call_table.h"
#include "client/channel_stream.h"
#include "client/io_transport.h"
#include "client/outbox.h"

namespace ramvol {

void Dispatcher::Dispatch(CallTable& calls, absl::Span<ChannelStream> streams,
                          std::vector<Batch>& batches) {
  if (calls.nothing_queued()) return;
  inflight_bytes_ = 0;
  for (const ChannelStream& stream : streams) {
    inflight_bytes_ += stream.inflight_bytes();
  }
  while (std::optional<int64_t> bytes = calls.NextPartBytes()) {
    ChannelStream* const stream = LeastLoaded(*bytes, streams);
    if (stream == nullptr) return;
    batches.push_back(Fill(calls, *stream));
  }
}

ChannelStream* Dispatcher::LeastLoaded(
    int64_t part_bytes, absl::Span<ChannelStream> streams) const {
  ChannelStream* best = nullptr;
  for (ChannelStream& stream : streams) {
    if (!stream.CanSend() || !Fits(stream, part_bytes)) continue;
    if (best == nullptr ||
        std::pair(stream.inflight_bytes(), stream.inflight_operations()) <
            std::pair(best->inflight_bytes(), best->inflight_operations())) {
      best = &stream;
    }
  }
  return best;
}

bool Dispatcher::Fits(const ChannelStream& stream, int64_t part_bytes) const {
  // A part that is larger than the bound goes alone.
  return stream.Fits(part_bytes) &&
         (inflight_bytes_ == 0 ||
          part_bytes <= max_inflight_bytes_ - inflight_bytes_);
}

Batch Dispatcher::Fill(CallTable& calls, ChannelStream& stream) {
  Batch batch;
  batch.stream = stream.stream();
  stream.set_writing(true);
  int64_t batch_bytes = 0;
  while (batch.operations.size() < kMaxBatchOperations) {
    const std::optional<int64_t> bytes = calls.NextPartBytes();
    if (!bytes.has_value() || !Fits(stream, *bytes)) break;
    if (batch_bytes > 0 && *bytes > kMaxBatchBytes - batch_bytes) break;
    batch_bytes += *bytes;
    inflight_bytes_ += *bytes;
    Part part = calls.TakePart();
    const uint64_t id = next_id_++;
    batch.operations.push_back(ToOperation(id, part));
    if (part.call->request.kind == OperationKind::kWrite) {
      calls.Pin(*part.call);
      batch.pinned.push_back(part.call);
    }
    stream.Add(id, std::move(part));
  }
  return batch;
}

}  // namespace ramvol
