// A thread that does something again and again.
#ifndef RAMVOL_BASE_TICKER_H_
#define RAMVOL_BASE_TICKER_H_

#include <algorithm>
#include <functional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace ramvol {

// Calls `tick` every `interval`, counted from the end of the call before, until
// it is destroyed. That waits for a call under way.
class Ticker {
 public:
  Ticker(absl::Duration interval, std::function<void()> tick)
      : interval_(interval),
        tick_(std::move(tick)),
        thread_([this] { Run(); }) {}
  ~Ticker() {
    {
      MutexLock lock(&mu_);
      stopping_ = true;
      wake_.SignalAll();
    }
    thread_.join();
  }

  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

 private:
  void Run() {
    while (Wait()) tick_();
  }
  // False when there is nothing more to do.
  bool Wait() {
    const absl::Time next = absl::Now() + interval_;
    MutexLock lock(&mu_);
    for (absl::Duration left = interval_;
         !stopping_ && left > absl::ZeroDuration(); left = next - absl::Now()) {
      wake_.WaitFor(&mu_, std::min(left, interval_));
    }
    return !stopping_;
  }

  const absl::Duration interval_;
  const std::function<void()> tick_;
  Mutex mu_;
  CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  // Last: it uses the others.
  std::thread thread_;
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_TICKER_H_
