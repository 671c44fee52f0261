#include "server/engine/work_queue.h"

#include <utility>

namespace ramvol::engine {

void WorkQueue::Push(RewriteRequest request) {
  {
    MutexLock lock(&mu_);
    if (requests_.size() >= kMaxRequests) return;
    requests_.push_back(std::move(request));
    size_.store(requests_.size(), std::memory_order_relaxed);
  }
  Wake();
}

std::optional<RewriteRequest> WorkQueue::Pop() {
  if (size_.load(std::memory_order_relaxed) == 0) return std::nullopt;
  MutexLock lock(&mu_);
  if (requests_.empty()) return std::nullopt;
  RewriteRequest request = std::move(requests_.front());
  requests_.pop_front();
  size_.store(requests_.size(), std::memory_order_relaxed);
  return request;
}

void WorkQueue::Share(size_t count, absl::FunctionRef<void(size_t)> run) {
  Shared shared{count, run};
  {
    MutexLock lock(&mu_);
    shared_.push_back(&shared);
    shares_.store(true, std::memory_order_relaxed);
    if (sleeping_.load(std::memory_order_relaxed) != 0) changed_.SignalAll();
  }
  RunSome(&shared);
  MutexLock lock(&mu_);
  ForgetLocked(&shared);
  while (shared.helpers > 0) helped_.Wait(&mu_);
}

bool WorkQueue::Help() {
  if (!shares_.load(std::memory_order_relaxed)) return false;
  Shared* shared;
  {
    MutexLock lock(&mu_);
    if (shared_.empty()) return false;
    shared = shared_.front();
    ++shared->helpers;
  }
  const bool did = RunSome(shared);
  MutexLock lock(&mu_);
  ForgetLocked(shared);
  // Whoever shared it may go as soon as the lock is free.
  if (--shared->helpers == 0) helped_.SignalAll();
  return did;
}

bool WorkQueue::RunSome(Shared* shared) {
  bool did = false;
  for (;; did = true) {
    const size_t i = shared->next.fetch_add(1, std::memory_order_relaxed);
    if (i >= shared->count) return did;
    shared->run(i);
  }
}

void WorkQueue::ForgetLocked(const Shared* shared) {
  std::erase(shared_, shared);
  shares_.store(!shared_.empty(), std::memory_order_relaxed);
}

void WorkQueue::Wake() {
  if (sleeping_.load(std::memory_order_relaxed) == 0) return;
  changed_.Signal();
}

void WorkQueue::Sleep(absl::Duration timeout) {
  MutexLock lock(&mu_);
  if (stopped() || !requests_.empty() || !shared_.empty()) return;
  sleeping_.fetch_add(1, std::memory_order_relaxed);
  // A wake-up that comes just before this is missed; the timeout bounds that.
  changed_.WaitFor(&mu_, timeout);
  sleeping_.fetch_sub(1, std::memory_order_relaxed);
}

void WorkQueue::Pause(absl::Duration timeout) {
  MutexLock lock(&mu_);
  if (!stopped()) stopping_.WaitFor(&mu_, timeout);
}

void WorkQueue::Stop() {
  MutexLock lock(&mu_);
  stopped_.store(true, std::memory_order_relaxed);
  stopping_.SignalAll();
  changed_.SignalAll();
}

}  // namespace ramvol::engine
