// A histogram of durations.
#ifndef RAMVOL_BASE_DURATION_HISTOGRAM_H_
#define RAMVOL_BASE_DURATION_HISTOGRAM_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/counters.h"

namespace ramvol {

// Thread-safe. Record takes no lock and allocates nothing. Takes 2 KiB.
class DurationHistogram {
 public:
  // Upper bounds of the buckets: 1 us, 2 us, 4 us, ... 2^24 us (16.8 s); the
  // last bucket holds what takes longer.
  static constexpr size_t kBuckets = 26;

  struct Snapshot {
    std::array<uint64_t, kBuckets> buckets = {};  // Not cumulative.
    uint64_t sum_ns = 0;

    uint64_t count() const {
      uint64_t count = 0;
      for (const uint64_t bucket : buckets) count += bucket;
      return count;
    }
  };

  DurationHistogram() = default;
  DurationHistogram(const DurationHistogram&) = delete;
  DurationHistogram& operator=(const DurationHistogram&) = delete;

  void Record(int64_t ns) {
    const uint64_t duration_ns = ns < 0 ? 0 : static_cast<uint64_t>(ns);
    Stripe& stripe = stripes_[ThreadStripe()];
    stripe.buckets[BucketOf(duration_ns)].fetch_add(1,
                                                    std::memory_order_relaxed);
    stripe.sum_ns.fetch_add(duration_ns, std::memory_order_relaxed);
  }

  // May miss what other threads record meanwhile.
  Snapshot Get() const {
    Snapshot all;
    for (const Stripe& stripe : stripes_) {
      for (size_t i = 0; i < kBuckets; ++i) {
        all.buckets[i] += stripe.buckets[i].load(std::memory_order_relaxed);
      }
      all.sum_ns += stripe.sum_ns.load(std::memory_order_relaxed);
    }
    return all;
  }

 private:
  // The first bucket whose bound is at least `ns`.
  static size_t BucketOf(uint64_t ns) {
    if (ns <= 1000) return 0;
    const uint64_t microseconds = (ns + 999) / 1000;
    return std::min<size_t>(std::bit_width(microseconds - 1), kBuckets - 1);
  }

  struct alignas(64) Stripe {
    std::atomic<uint64_t> sum_ns = 0;
    std::array<std::atomic<uint64_t>, kBuckets> buckets = {};
  };
  std::array<Stripe, kStripes> stripes_;
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_DURATION_HISTOGRAM_H_
