// Keeps many reads under way, in bounded memory, and returns them in order.
#ifndef RAMVOL_CLIENT_CLI_TRANSFER_READ_PIPELINE_H_
#define RAMVOL_CLIENT_CLI_TRANSFER_READ_PIPELINE_H_

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "client/cli/transfer/transfer.h"
#include "client/remote_volume.h"

namespace ramvol::cli {

// A ring of kMaxBuffers reads. For one thread at a time. The SDK's threads
// complete the reads.
class ReadPipeline {
 public:
  explicit ReadPipeline(RemoteVolume volume);
  ReadPipeline(const ReadPipeline&) = delete;
  ReadPipeline& operator=(const ReadPipeline&) = delete;
  // Waits for the reads under way.
  ~ReadPipeline();

  bool empty() const { return popped_ == pushed_; }
  bool full() const { return pushed_ - popped_ == kMaxBuffers; }

  // Starts a read of at most kOperationBytes. Not when full().
  void Push(int64_t offset, int64_t length) ABSL_LOCKS_EXCLUDED(mu_);

  // The data of a read.
  struct Piece {
    int64_t offset = 0;
    std::string_view data;  // Valid until the next Pop or Push.
  };
  // Waits for the oldest read, and removes it. Not when empty().
  absl::StatusOr<Piece> Pop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Read {
    std::unique_ptr<char[]> buffer;
    int64_t offset = 0;
    int64_t length = 0;
    bool busy = false;  // Guarded by mu_, as is `status`.
    absl::Status status;
  };

  const RemoteVolume volume_;
  // Only for the using thread.
  int64_t pushed_ = 0;
  int64_t popped_ = 0;

  Mutex mu_;
  CondVar changed_;
  // mu_ guards `busy` and `status`. The other fields belong to the using thread
  // while the read is not busy.
  Read reads_[kMaxBuffers];
};

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_READ_PIPELINE_H_
