// Turns an asynchronous call into a synchronous one.
#ifndef RAMVOL_CLIENT_WAITER_H_
#define RAMVOL_CLIENT_WAITER_H_

#include <functional>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "base/mutex.h"
#include "client/callback_scope.h"

namespace ramvol {

// Calls `start` with a callback that takes a `Result`, waits until that is
// called, and returns what it got. `Result` can be made from an absl::Status.
// In a callback of the SDK, or in RemoteVolume::Together, it fails with
// FAILED_PRECONDITION instead, since it might wait for its own thread.
template <typename Result>
Result WaitFor(const std::function<void(std::function<void(Result)>)>& start) {
  if (CallbackScope::current() != nullptr) {
    return absl::FailedPreconditionError(
        "a synchronous operation was started in a callback of the SDK or in "
        "Together, and would wait for itself; start the asynchronous one");
  }
  Mutex mu;
  CondVar done;
  std::optional<Result> result;
  start([&](Result value) {
    // Signals before it unlocks: once unlocked, all of this may be gone.
    MutexLock lock(&mu);
    result = std::move(value);
    done.Signal();
  });
  MutexLock lock(&mu);
  while (!result.has_value()) done.Wait(&mu);
  return *std::move(result);
}

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_WAITER_H_
