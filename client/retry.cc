#include "client/retry.h"

#include <algorithm>
#include <functional>

#include "absl/random/bit_gen_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/backoff.h"
#include "client/options.h"
#include "client/timer.h"

namespace ramvol {

absl::Status RetryUnavailable(
    const ClientOptions& options, Timer& timer, absl::BitGenRef random,
    const std::function<absl::Status(absl::Duration)>& attempt) {
  const absl::Time deadline = timer.Now() + options.timeout;
  absl::Time give_up = absl::InfiniteFuture();
  Backoff backoff(options.initial_backoff, options.max_backoff);
  while (true) {
    absl::Status status = attempt(deadline - timer.Now());
    if (!absl::IsUnavailable(status)) return status;
    const absl::Time now = timer.Now();
    give_up = std::min(give_up, now + options.reconnect_timeout);
    const absl::Duration pause = backoff.Next(random);
    // The pause is cut so that a last attempt is made when the time is up.
    if (now >= give_up || now + pause >= deadline) return status;
    timer.Sleep(std::min(pause, give_up - now));
  }
}

}  // namespace ramvol
