#include "client/cli/transfer/write_pipeline.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "client/remote_volume.h"

namespace ramvol::cli {

namespace {

// Whether the server may have carried out an operation that failed with this
// status.
bool MayHaveHappened(const absl::Status& status) {
  return status.ok() || absl::IsUnavailable(status) ||
         absl::IsDeadlineExceeded(status) || absl::IsCancelled(status) ||
         absl::IsAborted(status) || absl::IsUnknown(status);
}

}  // namespace

WritePipeline::WritePipeline(RemoteVolume volume, std::atomic<bool>* changed)
    : volume_(std::move(volume)), may_have_changed_(changed) {}

WritePipeline::~WritePipeline() {
  MutexLock lock(&mu_);
  while (operations_ > 0) all_ended_.Wait(&mu_);
}

WritePipeline::Buffer WritePipeline::NewBuffer(int64_t size) {
  {
    MutexLock lock(&mu_);
    if (std::exchange(free_size_, size) != size) free_.clear();
    if (!free_.empty()) {
      Buffer buffer{.memory = std::move(free_.back()), .size = size};
      free_.pop_back();
      return buffer;
    }
  }
  return {.memory = std::unique_ptr<char[]>(new char[size]), .size = size};
}

absl::Status WritePipeline::Begin() {
  MutexLock lock(&mu_);
  if (first_error_.ok()) ++operations_;
  return first_error_;
}

void WritePipeline::End(const absl::Status& status, Buffer buffer) {
  if (may_have_changed_ != nullptr && MayHaveHappened(status)) {
    may_have_changed_->store(true);
  }
  MutexLock lock(&mu_);
  if (first_error_.ok()) first_error_ = status;
  if (buffer.memory != nullptr && buffer.size == free_size_) {
    free_.push_back(std::move(buffer.memory));
  }
  if (--operations_ == 0) all_ended_.SignalAll();
}

absl::Status WritePipeline::Write(int64_t offset, Buffer buffer) {
  absl::Status begun = Begin();
  if (!begun.ok()) return begun;
  const int64_t size = buffer.size;
  // A std::function must be copyable, and a Buffer is not.
  char* const memory = buffer.memory.release();
  volume_.WriteAsync(
      offset, std::string_view(memory, static_cast<size_t>(size)),
      [this, memory, size](const absl::Status& status) {
        End(status, {.memory = std::unique_ptr<char[]>(memory), .size = size});
      });
  return absl::OkStatus();
}

absl::Status WritePipeline::WriteCopy(int64_t offset, std::string_view data) {
  absl::Status begun = Begin();
  if (!begun.ok()) return begun;
  auto copy = std::make_shared<const std::string>(data);
  volume_.WriteAsync(offset, *copy,
                     [this, copy](const absl::Status& status) { End(status); });
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
  while (operations_ > 0) all_ended_.Wait(&mu_);
  return first_error_;
}

}  // namespace ramvol::cli
