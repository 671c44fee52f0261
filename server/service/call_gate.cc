#include "server/service/call_gate.h"

#include "absl/time/clock.h"
#include "base/reason.h"

namespace ramvol::service {

absl::Status ShuttingDownError() {
  return WithReason(
      absl::UnavailableError("the server is shutting down; connect again"),
      reason::kShuttingDown);
}

bool CallGate::Enter() {
  MutexLock lock(&mu_);
  if (closed_) return false;
  ++inside_;
  return true;
}

void CallGate::Leave() {
  MutexLock lock(&mu_);
  if (--inside_ == 0) empty_.SignalAll();
}

void CallGate::Close() {
  MutexLock lock(&mu_);
  closed_ = true;
}

bool CallGate::WaitUntilEmpty(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(&mu_);
  while (inside_ > 0) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    empty_.WaitFor(&mu_, left);
  }
  return true;
}

}  // namespace ramvol::service
