// Time for the SDK, to be replaced in tests.
#ifndef RAMVOL_CLIENT_TIMER_H_
#define RAMVOL_CLIENT_TIMER_H_

#include <functional>
#include <memory>

#include "absl/time/time.h"

namespace ramvol {

// A clock that can call back. Thread-safe.
class Timer {
 public:
  virtual ~Timer() = default;

  // Never goes back. Its epoch is arbitrary: only differences mean anything.
  virtual absl::Time Now() const = 0;

  // Calls `fn` once at `when`, or at once when that has passed; always from a
  // thread of the timer, never from the caller's. What is still waiting when
  // the timer is destroyed is dropped.
  virtual void RunAt(absl::Time when, std::function<void()> fn) = 0;

  // Blocks the caller.
  virtual void Sleep(absl::Duration duration) = 0;
};

// The real one, with a thread of its own. It may be destroyed from that thread.
std::shared_ptr<Timer> MakeThreadTimer();

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_TIMER_H_
