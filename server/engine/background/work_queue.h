// What the data path asks of the background threads.
#ifndef RAMVOL_SERVER_ENGINE_BACKGROUND_WORK_QUEUE_H_
#define RAMVOL_SERVER_ENGINE_BACKGROUND_WORK_QUEUE_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "server/engine/content/chunk_owner.h"

namespace ramvol::engine {

struct RewriteRequest {
  std::weak_ptr<ChunkOwner> owner;
  uint64_t chunk = 0;
  RewriteReason reason = RewriteReason::kMostlyDead;
};

// Also lets background threads take part in work that a request waits for.
//
// Thread-safe. Requests beyond kMaxRequests are dropped: they only save memory
// or time, and the merging worker comes by later anyway.
class WorkQueue {
 public:
  static constexpr size_t kMaxRequests = 4096;

  void Push(RewriteRequest request);
  std::optional<RewriteRequest> Pop();
  // Does the oldest request, in the calling thread; false when there is none.
  bool RunOne();

  // Calls run(i) once for each i below `count`, on this thread and on those
  // that call Help meanwhile, and returns when all of these calls have.
  void Share(size_t count, absl::FunctionRef<void(size_t)> run);
  // Takes part in what somebody shares; false when there is nothing to do.
  bool Help();

  // Wakes a background thread when one sleeps; cheap when none does.
  void Wake();
  // Sleeps until Wake, Push, Share, Stop or the timeout.
  void Sleep(absl::Duration timeout);
  // Sleeps until Stop or the timeout; takes no wake-up from others.
  void Pause(absl::Duration timeout);
  void Stop();
  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }

 private:
  // What is shared. Lives on the stack of Share.
  struct Batch {
    const size_t count;
    const absl::FunctionRef<void(size_t)> run;
    std::atomic<size_t> next{0};
    int helpers = 0;  // Guarded by mu_.
  };

  // Runs what is left of `batch`; false when that is nothing.
  static bool RunSome(Batch* batch);
  void ForgetLocked(const Batch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Mutex mu_;
  CondVar helped_;
  // Of which some is left to be begun.
  std::vector<Batch*> batches_ ABSL_GUARDED_BY(mu_);
  std::atomic<bool> has_batches_{false};
  CondVar changed_;
  CondVar stopping_;
  std::deque<RewriteRequest> requests_ ABSL_GUARDED_BY(mu_);
  std::atomic<size_t> size_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stopped_{false};
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_BACKGROUND_WORK_QUEUE_H_
