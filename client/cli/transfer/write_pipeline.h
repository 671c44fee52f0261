// Many writes under way at once, in bounded memory.
#ifndef RAMVOL_CLIENT_CLI_TRANSFER_WRITE_PIPELINE_H_
#define RAMVOL_CLIENT_CLI_TRANSFER_WRITE_PIPELINE_H_

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "client/remote_volume.h"

namespace ramvol::cli {

// Starts writes and trims without waiting for their answers, at most
// kMaxOperations at a time, from at most kMaxBuffers buffers. After the first
// failure nothing more is started, and every call returns that failure.
//
// Used by one thread; the SDK's threads complete the operations.
class WritePipeline {
 public:
  explicit WritePipeline(RemoteVolume volume);
  WritePipeline(const WritePipeline&) = delete;
  WritePipeline& operator=(const WritePipeline&) = delete;
  // Waits for the operations under way.
  ~WritePipeline();

  // A buffer of kOperationBytes. It is free again when the last copy of the
  // pointer goes, so the writes from it hold one. Waits until one is free.
  using Buffer = std::shared_ptr<char[]>;
  absl::StatusOr<Buffer> GetBuffer() ABSL_LOCKS_EXCLUDED(mu_);

  // Writes `data`, which lies in `buffer`.
  absl::Status Write(int64_t offset, std::string_view data, Buffer buffer)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Trim(int64_t offset, int64_t length) ABSL_LOCKS_EXCLUDED(mu_);
  // Waits for all of them.
  absl::Status Drain() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  absl::Status Begin() ABSL_LOCKS_EXCLUDED(mu_);
  void End(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);
  void Recycle(char* memory) ABSL_LOCKS_EXCLUDED(mu_);

  const RemoteVolume volume_;

  Mutex mu_;
  CondVar changed_;
  absl::Status first_error_ ABSL_GUARDED_BY(mu_);
  int operations_ ABSL_GUARDED_BY(mu_) = 0;
  int lent_buffers_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<std::unique_ptr<char[]>> free_buffers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_WRITE_PIPELINE_H_
