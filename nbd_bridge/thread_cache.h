// Threads that are kept for the next task.
#ifndef RAMVOL_NBD_BRIDGE_THREAD_CACHE_H_
#define RAMVOL_NBD_BRIDGE_THREAD_CACHE_H_

#include <functional>
#include <list>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace ramvol::nbd {

// Runs each task at once in a thread of its own: in one that waits for work,
// the last to have run first, or else in a new one. A thread that waited for
// kIdleTime ends. Tasks may block; who starts them bounds their number.
//
// Thread-safe.
class ThreadCache {
 public:
  static constexpr absl::Duration kIdleTime = absl::Seconds(10);

  ThreadCache() = default;
  // Waits for all tasks to return.
  ~ThreadCache();

  ThreadCache(const ThreadCache&) = delete;
  ThreadCache& operator=(const ThreadCache&) = delete;

  // False, and nothing is run, when the system gives no more threads.
  [[nodiscard]] bool Run(std::function<void()> task);

 private:
  // A waiting thread's place to be told what to do.
  struct Idle {
    CondVar wake;
    std::function<void()> task;
  };

  using Threads = std::list<std::thread>;

  void RunThread(Threads::iterator me, std::function<void()> task);
  // The next task; empty when it is time to end.
  std::function<void()> WaitForTask() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Mutex mu_;
  CondVar ended_;
  std::vector<Idle*> idle_ ABSL_GUARDED_BY(mu_);
  Threads threads_ ABSL_GUARDED_BY(mu_);
  // Have left threads_, and are about to return.
  Threads leaving_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_THREAD_CACHE_H_
