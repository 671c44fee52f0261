// Pauses between attempts.
#ifndef RAMVOL_CLIENT_BACKOFF_H_
#define RAMVOL_CLIENT_BACKOFF_H_

#include <algorithm>

#include "absl/random/bit_gen_ref.h"
#include "absl/random/distributions.h"
#include "absl/time/time.h"

namespace ramvol {

// Pauses between attempts. They double from `initial` to `max`. Each is a
// random part of that, at least half, so that the clients of a lost server do
// not return all at once. Not thread-safe.
class Backoff {
 public:
  Backoff(absl::Duration initial, absl::Duration max)
      : initial_(initial), max_(max), next_(initial) {}

  absl::Duration Next(absl::BitGenRef random) {
    const absl::Duration pause =
        next_ * absl::Uniform<double>(absl::IntervalClosed, random, 0.5, 1.0);
    next_ = std::min(next_ * 2, max_);
    return pause;
  }

  void Reset() { next_ = initial_; }

 private:
  absl::Duration initial_;
  absl::Duration max_;
  absl::Duration next_;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_BACKOFF_H_
