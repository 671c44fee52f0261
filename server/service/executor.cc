#include "server/service/executor.h"

#include <algorithm>
#include <utility>

namespace ramvol::service {

Executor::Executor(int lane_threads)
    : lane_threads_(std::clamp(lane_threads, 1, kMaxThreads / kLanes)) {
  threads_.reserve(static_cast<size_t>(lane_threads_) * kLanes);
  for (int i = 0; i < lane_threads_ * kLanes; ++i) {
    threads_.emplace_back([this] { RunWorker(); });
  }
}

Executor::~Executor() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
  }
  wake_.SignalAll();
  for (std::thread& thread : threads_) thread.join();
}

bool Executor::Submit(Lane lane, std::function<void()> task) {
  {
    MutexLock lock(&mu_);
    auto& queue = queues_[static_cast<size_t>(lane)];
    if (queue.size() >= kMaxQueuedTasks) return false;
    queue.push_back(std::move(task));
  }
  wake_.Signal();
  return true;
}

size_t Executor::NextLaneLocked() const {
  // kPrompt is the first lane, so prompt tasks go before writes.
  size_t lane = 0;
  while (lane < kLanes &&
         (queues_[lane].empty() || running_[lane] >= lane_threads_)) {
    ++lane;
  }
  return lane;
}

void Executor::RunWorker() {
  mu_.Lock();
  while (true) {
    const size_t lane = NextLaneLocked();
    if (lane < kLanes) {
      std::function<void()> task = std::move(queues_[lane].front());
      queues_[lane].pop_front();
      ++running_[lane];
      mu_.Unlock();
      task();
      task = nullptr;  // Destroy captures without the lock.
      mu_.Lock();
      --running_[lane];
    } else if (stopping_) {
      break;
    } else {
      wake_.Wait(&mu_);
    }
  }
  mu_.Unlock();
}

}  // namespace ramvol::service
