// Retrying calls while the server is unreachable.
#ifndef RAMVOL_CLIENT_RETRY_H_
#define RAMVOL_CLIENT_RETRY_H_

#include <functional>

#include "absl/random/bit_gen_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/options.h"
#include "client/timer.h"

namespace ramvol {

// Calls `attempt` with the time left for it until it returns something else
// than UNAVAILABLE, and returns that. The last UNAVAILABLE is returned when the
// first is reconnect_timeout old, or when the call would exceed its timeout.
// Only for calls whose repetition does no harm.
absl::Status RetryUnavailable(
    const ClientOptions& options, Timer& timer, absl::BitGenRef random,
    const std::function<absl::Status(absl::Duration)>& attempt);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_RETRY_H_
