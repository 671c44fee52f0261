// How long a read took.
#ifndef RAMVOL_SERVER_ENGINE_COUNTERS_READ_CLOCK_H_
#define RAMVOL_SERVER_ENGINE_COUNTERS_READ_CLOCK_H_

#include <cstdint>

#include "base/clock.h"

namespace ramvol::engine {

// Two looks at the clock would make a short read that the hot cache serves
// longer by a third. So one in kSampled of a thread's short reads looks, and
// what it took stands for those after it; every read that decompresses has a
// time of its own, from then on at the latest.
class ReadClock {
 public:
  static constexpr int kSampled = 16;

  explicit ReadClock(bool is_short) : sampled_(is_short) {
    if (is_short && --left > 0) return;
    if (is_short) left = kSampled;
    began_ns_ = SteadyNowNs();
  }
  // The read has been decompressing since `ns`.
  void Decompressed(int64_t ns) {
    sampled_ = false;
    if (began_ns_ == 0) began_ns_ = ns;
  }
  // Call it once, at the end.
  int64_t TookNs() const {
    if (began_ns_ == 0) return last_took_ns;
    const int64_t took_ns = SteadyNowNs() - began_ns_;
    if (sampled_) last_took_ns = took_ns;
    return took_ns;
  }

 private:
  // How many short reads from now the next one is that looks.
  static inline thread_local constinit int left = 1;
  static inline thread_local constinit int64_t last_took_ns = 0;

  bool sampled_;
  int64_t began_ns_ = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_COUNTERS_READ_CLOCK_H_
