// What the data path asks of the background threads.
#ifndef RAMVOL_SERVER_ENGINE_WORK_QUEUE_H_
#define RAMVOL_SERVER_ENGINE_WORK_QUEUE_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "proto/base/mutex.h"
#include "server/engine/chunk_owner.h"

namespace ramvol::engine {

struct RewriteRequest {
  std::weak_ptr<ChunkOwner> owner;
  uint64_t chunk = 0;
  RewriteReason reason = RewriteReason::kMostlyDead;
};

// Thread-safe. Requests beyond kMaxRequests are dropped: they only save memory
// or time, and the merging worker comes by later anyway.
class WorkQueue {
 public:
  static constexpr size_t kMaxRequests = 4096;

  void Push(RewriteRequest request);
  std::optional<RewriteRequest> Pop();

  // Wakes a background thread when one sleeps; cheap when none does.
  void Wake();
  // Sleeps until Wake, Push, Stop or the timeout.
  void Sleep(absl::Duration timeout);
  // Sleeps until Stop or the timeout; takes no wake-up from others.
  void Pause(absl::Duration timeout);
  void Stop();
  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }

 private:
  Mutex mu_;
  CondVar changed_;
  CondVar stopping_;
  std::deque<RewriteRequest> requests_ ABSL_GUARDED_BY(mu_);
  std::atomic<size_t> size_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stopped_{false};
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_WORK_QUEUE_H_
