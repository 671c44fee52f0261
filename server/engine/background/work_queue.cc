#include "server/engine/background/work_queue.h"

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
  Batch batch{count, run};
  {
    MutexLock lock(&mu_);
    batches_.push_back(&batch);
    has_batches_.store(true, std::memory_order_relaxed);
    if (sleeping_.load(std::memory_order_relaxed) != 0) changed_.SignalAll();
  }
  RunSome(&batch);
  MutexLock lock(&mu_);
  ForgetLocked(&batch);
  // `batch` is on this stack, and helpers may still be in their last call.
  while (batch.helpers > 0) helped_.Wait(&mu_);
}

bool WorkQueue::Help() {
  if (!has_batches_.load(std::memory_order_relaxed)) return false;
  Batch* batch;
  {
    MutexLock lock(&mu_);
    if (batches_.empty()) return false;
    batch = batches_.front();
    ++batch->helpers;
  }
  const bool did = RunSome(batch);
  MutexLock lock(&mu_);
  ForgetLocked(batch);
  // The sharing thread may destroy `batch` as soon as the lock is free.
  if (--batch->helpers == 0) helped_.SignalAll();
  return did;
}

bool WorkQueue::RunSome(Batch* batch) {
  bool did = false;
  for (;; did = true) {
    const size_t i = batch->next.fetch_add(1, std::memory_order_relaxed);
    if (i >= batch->count) return did;
    batch->run(i);
  }
}

void WorkQueue::ForgetLocked(const Batch* batch) {
  std::erase(batches_, batch);
  has_batches_.store(!batches_.empty(), std::memory_order_relaxed);
}

void WorkQueue::Wake() {
  if (sleeping_.load(std::memory_order_relaxed) == 0) return;
  changed_.Signal();
}

void WorkQueue::Sleep(absl::Duration timeout) {
  MutexLock lock(&mu_);
  if (stopped() || !requests_.empty() || !batches_.empty()) return;
  sleeping_.fetch_add(1, std::memory_order_relaxed);
  // A wake-up just before this line is lost. The timeout bounds the delay.
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
