// Counts the calls under way, so that a shutdown can wait for them.
#ifndef RAMVOL_SERVER_SERVICE_CALL_GATE_H_
#define RAMVOL_SERVER_SERVICE_CALL_GATE_H_

#include <cstddef>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace ramvol::service {

// Open until Close. Thread-safe.
class CallGate {
 public:
  // False once closed. Otherwise, call Leave at the end.
  [[nodiscard]] bool Enter();
  void Leave();

  // Makes Enter return false from now on.
  void Close();
  bool closed() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return closed_;
  }
  // Waits until all calls have left; false after `timeout`.
  bool WaitUntilEmpty(absl::Duration timeout);

 private:
  Mutex mu_;
  CondVar empty_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  size_t inside_ ABSL_GUARDED_BY(mu_) = 0;
};

// The error for calls that come too late: UNAVAILABLE, reason SHUTTING_DOWN.
absl::Status ShuttingDownError();

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_CALL_GATE_H_
