// Requests from the data path to the background threads.
#ifndef RAMVOL_SERVER_ENGINE_BACKGROUND_WORK_QUEUE_H_
#define RAMVOL_SERVER_ENGINE_BACKGROUND_WORK_QUEUE_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/content/home.h"

namespace ramvol::engine {

struct RewriteRequest {
  Home home;
  RewriteReason reason = RewriteReason::kMostlyDead;
};

// A queue of rewrite requests. Also lets background threads help with work that
// a request waits for.
//
// Thread-safe. Requests beyond kMaxRequests are dropped: they only save memory
// or time, and merging visits every chunk later anyway.
class WorkQueue {
 public:
  static constexpr size_t kMaxRequests = 4096;

  void Push(RewriteRequest request);
  // The oldest one.
  std::optional<RewriteRequest> Pop();

  // Calls run(i) once for each i below `count`, on this thread and on threads
  // that call Help meanwhile. Returns when all calls have returned.
  void Share(size_t count, absl::FunctionRef<void(size_t)> run);
  // Runs calls of some Share; false when there is nothing to do.
  bool Help();

  // Wakes a sleeping background thread; cheap when none sleeps.
  void Wake();
  // Sleeps until Wake, Push, Share, Stop or the timeout.
  void Sleep(absl::Duration timeout);
  // Sleeps until Stop or the timeout, without consuming wake-ups.
  void Pause(absl::Duration timeout);
  void Stop();
  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }

 private:
  // The calls of one Share, on whose stack it lives.
  struct Batch {
    const size_t count;
    const absl::FunctionRef<void(size_t)> run;
    std::atomic<size_t> next{0};
    int helpers = 0;  // Guarded by mu_.
  };

  // Runs the calls of `batch` that have not begun; false when there are none.
  static bool RunSome(Batch* batch);
  void ForgetLocked(const Batch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Mutex mu_;
  CondVar helped_;
  // Batches with calls that have not begun.
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
