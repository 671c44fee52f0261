// Time for the SDK, to be replaced in tests.
#ifndef RAMVOL_CLIENT_TIMER_H_
#define RAMVOL_CLIENT_TIMER_H_

#include <functional>
#include <memory>

#include "absl/time/time.h"

namespace ramvol {

// A clock that can call functions later. Thread-safe.
class Timer {
 public:
  virtual ~Timer() = default;

  // Never goes back. Only differences mean anything: the epoch is arbitrary.
  virtual absl::Time Now() const = 0;

  // Calls `fn` once at `when`, or soon if `when` has passed. The call comes
  // from a thread of the timer, never from the caller's. Destroying the timer
  // drops the functions that still wait.
  virtual void RunAt(absl::Time when, std::function<void()> fn) = 0;

  // Blocks the caller.
  virtual void Sleep(absl::Duration duration) = 0;
};

// A timer of real time, with a thread of its own. That thread may destroy it.
std::shared_ptr<Timer> MakeThreadTimer();

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_TIMER_H_
