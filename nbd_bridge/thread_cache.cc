#include "nbd_bridge/thread_cache.h"

#include <algorithm>
#include <system_error>
#include <thread>
#include <utility>

namespace ramvol::nbd {

ThreadCache::~ThreadCache() {
  MutexLock lock(&mu_);
  stopping_ = true;
  for (Idle* idle : idle_) idle->wake.Signal();
  while (threads_ != 0) ended_.Wait(&mu_);
}

bool ThreadCache::Run(std::function<void()> task) {
  {
    MutexLock lock(&mu_);
    if (!idle_.empty()) {
      Idle* idle = idle_.back();
      idle_.pop_back();
      idle->task = std::move(task);
      idle->wake.Signal();
      return true;
    }
    ++threads_;
  }
  try {
    std::thread([this, task = std::move(task)]() mutable {
      RunThread(std::move(task));
    }).detach();
    return true;
  } catch (const std::system_error&) {
    MutexLock lock(&mu_);
    --threads_;
    return false;
  }
}

void ThreadCache::RunThread(std::function<void()> task) {
  while (task != nullptr) {
    task();
    task = WaitForTask();
  }
}

std::function<void()> ThreadCache::WaitForTask() {
  Idle me;
  MutexLock lock(&mu_);
  idle_.push_back(&me);
  const auto timed_out = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return me.wake.WaitFor(&mu_, kIdleTime);
  };
  while (me.task == nullptr && !stopping_ && !timed_out()) {
  }
  if (me.task != nullptr) return std::move(me.task);
  idle_.erase(std::find(idle_.begin(), idle_.end(), &me));
  --threads_;
  ended_.SignalAll();
  return nullptr;
}

}  // namespace ramvol::nbd
