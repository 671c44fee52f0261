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

// Calls `attempt`, with the time that is left for it, until it returns anything
// but UNAVAILABLE. Returns that status, or the last UNAVAILABLE when
// options.reconnect_timeout has passed since the first, or options.timeout
// since the start. Only for calls that may be repeated.
absl::Status RetryUnavailable(
    const ClientOptions& options, Timer& timer, absl::BitGenRef random,
    const std::function<absl::Status(absl::Duration)>& attempt);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_RETRY_H_
