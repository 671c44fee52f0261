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

// Calls `start` with a callback that takes a `Result`. Waits until the callback
// is called, and returns its argument. `Result` can be made from an
// absl::Status. Fails with FAILED_PRECONDITION in a callback of the SDK and in
// RemoteVolume::Together, where it might wait for its own thread.
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
    // Signals before unlocking: after that, `mu` and `done` may be gone.
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
