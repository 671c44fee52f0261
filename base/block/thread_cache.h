// Reuses threads for tasks.
#ifndef RAMVOL_BASE_BLOCK_THREAD_CACHE_H_
#define RAMVOL_BASE_BLOCK_THREAD_CACHE_H_

#include <functional>
#include <list>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace ramvol::block {

// Runs each task at once in a thread of its own: in the idle thread that ran
// last, or else in a new one. A thread ends after kIdleTime without a task.
// Tasks may block. Callers bound their number.
//
// Thread-safe.
class ThreadCache {
 public:
  static constexpr absl::Duration kIdleTime = absl::Seconds(10);

  ThreadCache() = default;
  // Waits for all tasks.
  ~ThreadCache();

  ThreadCache(const ThreadCache&) = delete;
  ThreadCache& operator=(const ThreadCache&) = delete;

  // False, without running `task`, when the system has no more threads.
  [[nodiscard]] bool Run(std::function<void()> task);

 private:
  // An idle thread's slot for its next task.
  struct Idle {
    CondVar wake;
    std::function<void()> task;
  };

  using Threads = std::list<std::thread>;

  void RunThread(Threads::iterator me, std::function<void()> task);
  // The next task; empty when the thread should end.
  std::function<void()> WaitForTask() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Mutex mu_;
  CondVar ended_;
  std::vector<Idle*> idle_ ABSL_GUARDED_BY(mu_);
  Threads threads_ ABSL_GUARDED_BY(mu_);
  // Threads that are about to return and can be joined without waiting long.
  Threads leaving_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace ramvol::block

#endif  // RAMVOL_BASE_BLOCK_THREAD_CACHE_H_
