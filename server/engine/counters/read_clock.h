// Measures how long a read takes.
#ifndef RAMVOL_SERVER_ENGINE_COUNTERS_READ_CLOCK_H_
#define RAMVOL_SERVER_ENGINE_COUNTERS_READ_CLOCK_H_

#include <cstdint>

#include "base/clock.h"

namespace ramvol::engine {

// Reading the clock twice would make a short read from the hot cache a third
// longer. So a thread times only one in kSampled of its short reads, and uses
// that duration for the next ones. A read that decompresses is always timed, if
// not from its start then from its first decompression (docs/decisions/0028).
class ReadClock {
 public:
  static constexpr int kSampled = 16;

  explicit ReadClock(bool is_short) : sampled_(is_short) {
    if (is_short && --left > 0) return;
    if (is_short) left = kSampled;
    began_ns_ = SteadyNowNs();
  }
  // The read began to decompress at `ns`.
  void Decompressed(int64_t ns) {
    sampled_ = false;
    if (began_ns_ == 0) began_ns_ = ns;
  }
  // Call this once, at the end.
  int64_t TookNs() const {
    if (began_ns_ == 0) return last_took_ns;
    const int64_t took_ns = SteadyNowNs() - began_ns_;
    if (sampled_) last_took_ns = took_ns;
    return took_ns;
  }

 private:
  // Short reads until the next one that is timed.
  static inline thread_local constinit int left = 1;
  static inline thread_local constinit int64_t last_took_ns = 0;

  bool sampled_;
  int64_t began_ns_ = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_COUNTERS_READ_CLOCK_H_
