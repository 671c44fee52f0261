#include "base/usage_timer.h"

#include <utility>

#include "absl/time/time.h"
#include "base/usage_limiter.h"

namespace ramvol {

UsageTimer::~UsageTimer() {
  std::thread thread;
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    wake_.SignalAll();
    thread.swap(thread_);
  }
  if (thread.joinable()) thread.join();
}

void UsageTimer::Release() {
  MutexLock lock(&mu_);
  released_.store(true, std::memory_order_release);
  std::multimap<int64_t, std::weak_ptr<UsageLimiter>> now;
  for (auto& [at_ns, limiter] : due_) now.emplace(NowNs(), std::move(limiter));
  due_.swap(now);
  wake_.Signal();
}

void UsageTimer::Set(std::weak_ptr<UsageLimiter> limiter, int64_t at_ns) {
  MutexLock lock(&mu_);
  const auto place =
      due_.emplace(released() ? NowNs() : at_ns, std::move(limiter));
  if (!has_thread_ || stopping_) return;
  if (!thread_.joinable()) {
    thread_ = std::thread([this] { Run(); });
  } else if (place == due_.begin()) {
    wake_.Signal();
  }
}

std::optional<int64_t> UsageTimer::RunDue() {
  for (;;) {
    std::shared_ptr<UsageLimiter> limiter;
    {
      MutexLock lock(&mu_);
      if (due_.empty()) return std::nullopt;
      const auto first = due_.begin();
      if (first->first > NowNs()) return first->first;
      limiter = first->second.lock();
      due_.erase(first);
    }
    if (limiter != nullptr) limiter->Admit();
  }
}

void UsageTimer::Run() {
  for (;;) {
    (void)RunDue();
    MutexLock lock(&mu_);
    if (stopping_) return;
    if (due_.empty()) {
      wake_.Wait(&mu_);
    } else if (const int64_t left = due_.begin()->first - NowNs(); left > 0) {
      wake_.WaitFor(&mu_, absl::Nanoseconds(left));
    }
    if (stopping_) return;
  }
}

}  // namespace ramvol
