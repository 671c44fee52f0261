// A Timer that a test moves.
#ifndef RAMVOL_TESTS_CLIENT_MANUAL_TIMER_H_
#define RAMVOL_TESTS_CLIENT_MANUAL_TIMER_H_

#include <functional>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "client/timer.h"

namespace ramvol {

// Time stands still until Advance. Callbacks run on the thread that calls
// Advance or RunDue. Thread-safe.
class ManualTimer : public Timer {
 public:
  absl::Time Now() const override {
    MutexLock lock(&mu_);
    return now_;
  }

  void RunAt(absl::Time when, std::function<void()> fn) override {
    MutexLock lock(&mu_);
    waiting_.emplace(when, std::move(fn));
    added_.SignalAll();
  }

  void Sleep(absl::Duration duration) override { Advance(duration); }

  // Runs what is due, what becomes due meanwhile included.
  void RunDue() {
    while (std::function<void()> fn = TakeDue()) fn();
  }

  // Stops at each callback's time on the way.
  void Advance(absl::Duration duration) {
    const absl::Time target = Now() + duration;
    while (true) {
      RunDue();
      MutexLock lock(&mu_);
      if (waiting_.empty() || waiting_.begin()->first > target) {
        now_ = target;
        return;
      }
      now_ = waiting_.begin()->first;
    }
  }

  // Waits until a callback is due at `when` or before.
  void AwaitTimerAt(absl::Time when) {
    MutexLock lock(&mu_);
    while (waiting_.empty() || waiting_.begin()->first > when) {
      added_.Wait(&mu_);
    }
  }

 private:
  std::function<void()> TakeDue() {
    MutexLock lock(&mu_);
    if (waiting_.empty() || waiting_.begin()->first > now_) return nullptr;
    std::function<void()> fn = std::move(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
    return fn;
  }

  mutable Mutex mu_;
  CondVar added_;
  absl::Time now_ ABSL_GUARDED_BY(mu_) = absl::FromUnixSeconds(1000);
  std::multimap<absl::Time, std::function<void()>> waiting_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol

#endif  // RAMVOL_TESTS_CLIENT_MANUAL_TIMER_H_
