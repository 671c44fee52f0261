// Keeps many writes under way.
#ifndef RAMVOL_CLIENT_CLI_TRANSFER_WRITE_PIPELINE_H_
#define RAMVOL_CLIENT_CLI_TRANSFER_WRITE_PIPELINE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "base/mutex.h"
#include "client/remote_volume.h"

namespace ramvol::cli {

// Starts writes and trims without waiting for their answers. The SDK bounds how
// many may be unanswered: it makes the caller wait at
// ClientOptions::max_inflight_bytes. That bounds memory, too, because a write
// holds only its data. After the first failure, no operation is started any
// more, and every call returns that failure.
//
// For one thread at a time. The SDK's threads complete the operations.
class WritePipeline {
 public:
  // If `changed` is not null, it becomes true once the volume may have changed:
  // when an operation succeeds, or ends without the server's answer.
  explicit WritePipeline(RemoteVolume volume,
                         std::atomic<bool>* changed = nullptr);
  WritePipeline(const WritePipeline&) = delete;
  WritePipeline& operator=(const WritePipeline&) = delete;
  // Waits for the operations under way.
  ~WritePipeline();

  struct Buffer {
    std::unique_ptr<char[]> memory;
    int64_t size;
  };
  // A buffer of `size` bytes: that of an earlier write, if one is free.
  Buffer NewBuffer(int64_t size) ABSL_LOCKS_EXCLUDED(mu_);

  // Writes all of `buffer`.
  absl::Status Write(int64_t offset, Buffer buffer) ABSL_LOCKS_EXCLUDED(mu_);
  // Writes a copy of `data`.
  absl::Status WriteCopy(int64_t offset, std::string_view data)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Trim(int64_t offset, int64_t length) ABSL_LOCKS_EXCLUDED(mu_);
  // Waits for all operations.
  absl::Status Drain() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  absl::Status Begin() ABSL_LOCKS_EXCLUDED(mu_);
  void End(const absl::Status& status, Buffer buffer = {nullptr, 0})
      ABSL_LOCKS_EXCLUDED(mu_);

  const RemoteVolume volume_;
  std::atomic<bool>* const may_have_changed_;

  Mutex mu_;
  CondVar all_ended_;
  absl::Status first_error_ ABSL_GUARDED_BY(mu_);
  int operations_ ABSL_GUARDED_BY(mu_) = 0;
  // Free buffers. All have the size that was asked for last.
  std::vector<std::unique_ptr<char[]>> free_ ABSL_GUARDED_BY(mu_);
  int64_t free_size_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_WRITE_PIPELINE_H_
