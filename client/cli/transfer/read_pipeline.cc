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
  for (Read& read : reads_) {
    while (read.busy) changed_.Wait(&mu_);
  }
}

void ReadPipeline::Push(int64_t offset, int64_t length) {
  Read& read = reads_[pushed_++ % kMaxBuffers];
  if (read.buffer == nullptr) read.buffer.reset(new char[kOperationBytes]);
  read.offset = offset;
  read.length = length;
  {
    MutexLock lock(&mu_);
    read.busy = true;
  }
  const absl::Span<char> out(read.buffer.get(), static_cast<size_t>(length));
  volume_.ReadAsync(offset, out, [this, &read](const absl::Status& status) {
    MutexLock lock(&mu_);
    read.status = status;
    read.busy = false;
    changed_.SignalAll();
  });
}

absl::StatusOr<ReadPipeline::Piece> ReadPipeline::Pop() {
  Read& read = reads_[popped_++ % kMaxBuffers];
  {
    MutexLock lock(&mu_);
    while (read.busy) changed_.Wait(&mu_);
  }
  if (!read.status.ok()) return read.status;
  return Piece{.offset = read.offset,
               .data = std::string_view(read.buffer.get(),
                                        static_cast<size_t>(read.length))};
}

}  // namespace ramvol::cli
