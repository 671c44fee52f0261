#include "client/cli/transfer/read_pipeline.h"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "client/cli/transfer/transfer.h"
#include "client/remote_volume.h"

namespace ramvol::cli {

ReadPipeline::ReadPipeline(RemoteVolume volume) : volume_(std::move(volume)) {}

ReadPipeline::~ReadPipeline() {
  MutexLock lock(&mu_);
  for (Slot& slot : slots_) {
    while (slot.busy) changed_.Wait(&mu_);
  }
}

void ReadPipeline::Push(int64_t offset, int64_t length) {
  Slot& slot = slots_[pushed_++ % kMaxBuffers];
  if (slot.buffer == nullptr) slot.buffer.reset(new char[kOperationBytes]);
  slot.offset = offset;
  slot.length = length;
  {
    MutexLock lock(&mu_);
    slot.busy = true;
  }
  const absl::Span<char> out(slot.buffer.get(), static_cast<size_t>(length));
  volume_.ReadAsync(offset, out, [this, &slot](const absl::Status& status) {
    MutexLock lock(&mu_);
    slot.status = status;
    slot.busy = false;
    changed_.SignalAll();
  });
}

absl::StatusOr<ReadPipeline::Piece> ReadPipeline::Pop() {
  Slot& slot = slots_[popped_++ % kMaxBuffers];
  {
    MutexLock lock(&mu_);
    while (slot.busy) changed_.Wait(&mu_);
  }
  if (!slot.status.ok()) return slot.status;
  return Piece{.offset = slot.offset,
               .data = std::string_view(slot.buffer.get(),
                                        static_cast<size_t>(slot.length))};
}

}  // namespace ramvol::cli
