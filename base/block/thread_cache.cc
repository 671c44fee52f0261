#include "base/block/thread_cache.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace ramvol::block {

namespace {

void JoinAll(std::list<std::thread> threads) {
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

ThreadCache::~ThreadCache() {
  Threads leaving;
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    for (Idle* idle : idle_) idle->wake.Signal();
    while (!threads_.empty()) ended_.Wait(&mu_);
    leaving.swap(leaving_);
  }
  JoinAll(std::move(leaving));
}

bool ThreadCache::Run(std::function<void()> task) {
  Threads left;
  bool running = true;
  {
    MutexLock lock(&mu_);
    left.swap(leaving_);
    if (!idle_.empty()) {
      // The last one to become idle, so that surplus threads time out.
      Idle* idle = idle_.back();
      idle_.pop_back();
      idle->task = std::move(task);
      idle->wake.Signal();
    } else {
      const auto me = threads_.emplace(threads_.end());
      try {
        *me = std::thread(&ThreadCache::RunThread, this, me, std::move(task));
      } catch (const std::system_error&) {
        threads_.erase(me);
        running = false;
      }
    }
  }
  JoinAll(std::move(left));
  return running;
}

void ThreadCache::RunThread(Threads::iterator me, std::function<void()> task) {
  while (task != nullptr) {
    task();
    // Destroys what the task holds before ~ThreadCache can return.
    task = nullptr;
    MutexLock lock(&mu_);
    task = WaitForTask();
    if (task == nullptr) {
      // A thread cannot join itself: the next Run, or the destructor, does.
      leaving_.splice(leaving_.end(), threads_, me);
      ended_.SignalAll();
    }
  }
}

std::function<void()> ThreadCache::WaitForTask() {
  Idle me;
  idle_.push_back(&me);
  const auto timed_out = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return me.wake.WaitFor(&mu_, kIdleTime);
  };
  while (me.task == nullptr && !stopping_ && !timed_out()) {
  }
  if (me.task != nullptr) return std::move(me.task);
  idle_.erase(std::find(idle_.begin(), idle_.end(), &me));
  return nullptr;
}

}  // namespace ramvol::block
