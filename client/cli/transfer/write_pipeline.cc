#include "client/cli/transfer/write_pipeline.h"

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "client/cli/transfer/transfer.h"
#include "client/remote_volume.h"

namespace ramvol::cli {

WritePipeline::WritePipeline(RemoteVolume volume)
    : volume_(std::move(volume)) {}

WritePipeline::~WritePipeline() {
  MutexLock lock(&mu_);
  while (operations_ > 0 || lent_buffers_ > 0) changed_.Wait(&mu_);
}

absl::StatusOr<WritePipeline::Buffer> WritePipeline::GetBuffer() {
  std::unique_ptr<char[]> memory;
  {
    MutexLock lock(&mu_);
    while (lent_buffers_ >= kMaxBuffers) changed_.Wait(&mu_);
    if (!first_error_.ok()) return first_error_;
    ++lent_buffers_;
    if (!free_buffers_.empty()) {
      memory = std::move(free_buffers_.back());
      free_buffers_.pop_back();
    }
  }
  if (memory == nullptr) memory.reset(new char[kOperationBytes]);
  return Buffer(memory.release(), [this](char* p) { Recycle(p); });
}

void WritePipeline::Recycle(char* memory) {
  MutexLock lock(&mu_);
  free_buffers_.emplace_back(memory);
  --lent_buffers_;
  changed_.SignalAll();
}

absl::Status WritePipeline::Begin() {
  MutexLock lock(&mu_);
  while (operations_ >= kMaxOperations) changed_.Wait(&mu_);
  if (first_error_.ok()) ++operations_;
  return first_error_;
}

void WritePipeline::End(const absl::Status& status) {
  MutexLock lock(&mu_);
  if (first_error_.ok()) first_error_ = status;
  --operations_;
  changed_.SignalAll();
}

absl::Status WritePipeline::Write(int64_t offset, std::string_view data,
                                  Buffer buffer) {
  absl::Status begun = Begin();
  if (!begun.ok()) return begun;
  volume_.WriteAsync(
      offset, data,
      [this, buffer = std::move(buffer)](const absl::Status& status) mutable {
        // Before End, after which this pipeline may be gone.
        buffer.reset();
        End(status);
      });
  return absl::OkStatus();
}

absl::Status WritePipeline::Trim(int64_t offset, int64_t length) {
  absl::Status begun = Begin();
  if (!begun.ok()) return begun;
  volume_.TrimAsync(offset, length,
                    [this](const absl::Status& status) { End(status); });
  return absl::OkStatus();
}

absl::Status WritePipeline::Drain() {
  MutexLock lock(&mu_);
  while (operations_ > 0) changed_.Wait(&mu_);
  return first_error_;
}

}  // namespace ramvol::cli
