// A rate with a burst.
#ifndef RAMVOL_BASE_TOKEN_BUCKET_H_
#define RAMVOL_BASE_TOKEN_BUCKET_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace ramvol {

// Lets through, in any time T, at most burst + rate * T; and where what is
// taken at once is larger than the burst, that much instead of the burst.
//
// Not thread-safe. Times are in nanoseconds and never go back.
class TokenBucket {
 public:
  // Changes the rate a second, 0 for none. A `burst` of 0 is a tenth of a
  // second's, at least 1. Beginning to limit, the bucket is full.
  void SetRate(uint64_t rate, uint64_t burst, int64_t now_ns) {
    const bool was_limited = rate_ > 0;
    Fill(now_ns);
    rate_ = static_cast<double>(rate);
    burst_ = burst > 0 ? static_cast<double>(burst) : std::max(1.0, rate_ / 10);
    tokens_ = was_limited ? std::min(tokens_, burst_) : burst_;
    filled_ns_ = now_ns;
  }
  bool limited() const { return rate_ > 0; }

  // How long `amount` has to wait if nothing else is taken.
  int64_t WaitNs(uint64_t amount, int64_t now_ns) {
    if (!limited()) return 0;
    Fill(now_ns);
    const double missing =
        std::min(static_cast<double>(amount), burst_) - tokens_;
    if (missing <= 0) return 0;
    const double wait_ns = std::ceil(missing / rate_ * kNsPerSecond);
    return std::max<int64_t>(
        1, static_cast<int64_t>(std::min(wait_ns, kMaxWaitNs)));
  }
  // Call it when WaitNs is 0. What is more than the burst is owed.
  void Take(uint64_t amount) {
    if (limited()) tokens_ -= static_cast<double>(amount);
  }

  // The time that `amount` takes at the rate, in seconds; 0 without a rate.
  double Price(uint64_t amount) const {
    return limited() ? static_cast<double>(amount) / rate_ : 0;
  }

 private:
  static constexpr double kNsPerSecond = 1e9;
  static constexpr double kMaxWaitNs = 1e15;  // 11 days.

  void Fill(int64_t now_ns) {
    if (now_ns <= filled_ns_) return;
    const double passed = static_cast<double>(now_ns - filled_ns_);
    tokens_ = std::min(burst_, tokens_ + rate_ * passed / kNsPerSecond);
    filled_ns_ = now_ns;
  }

  double rate_ = 0;
  double burst_ = 0;
  double tokens_ = 0;
  int64_t filled_ns_ = 0;
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_TOKEN_BUCKET_H_
