// Tells UsageLimiters when what waits there may go on.
#ifndef RAMVOL_BASE_USAGE_TIMER_H_
#define RAMVOL_BASE_USAGE_TIMER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace ramvol {

class UsageLimiter;

// One for all limiters of a server, which must outlive all use of them. It has
// one thread, from the first time that something waits. Thread-safe.
class UsageTimer {
 public:
  using ClockNs = std::function<int64_t()>;

  UsageTimer() : UsageTimer(&SteadyNowNs, /*has_thread=*/true) {}
  // For tests. Without a thread, call RunDue.
  UsageTimer(ClockNs clock, bool has_thread)
      : clock_(std::move(clock)), has_thread_(has_thread) {}
  ~UsageTimer();

  UsageTimer(const UsageTimer&) = delete;
  UsageTimer& operator=(const UsageTimer&) = delete;

  // From now on nothing waits, and what waits goes on: the server stops.
  void Release() ABSL_LOCKS_EXCLUDED(mu_);
  bool released() const { return released_.load(std::memory_order_acquire); }

  // Calls what is due; when the next one is.
  std::optional<int64_t> RunDue() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  friend class UsageLimiter;

  int64_t NowNs() const { return clock_(); }
  // UsageLimiter::Admit is to be called at this time, once. It may come twice.
  void Set(std::weak_ptr<UsageLimiter> limiter, int64_t at_ns)
      ABSL_LOCKS_EXCLUDED(mu_);
  void Run() ABSL_LOCKS_EXCLUDED(mu_);

  const ClockNs clock_;
  const bool has_thread_;
  std::atomic<bool> released_{false};

  Mutex mu_;
  CondVar wake_;
  std::multimap<int64_t, std::weak_ptr<UsageLimiter>> due_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_USAGE_TIMER_H_
