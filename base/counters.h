// Counters that many threads add to without waiting for each other.
#ifndef RAMVOL_BASE_COUNTERS_H_
#define RAMVOL_BASE_COUNTERS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ramvol {

// How many copies of contended state there are; a thread uses one of them.
inline constexpr size_t kStripes = 8;

// The stripe of the calling thread. Threads get stripes in turn.
inline size_t ThreadStripe() {
  static std::atomic<size_t> next{0};
  thread_local const size_t stripe =
      next.fetch_add(1, std::memory_order_relaxed) % kStripes;
  return stripe;
}

// One relaxed counter for each value of `Name` (an enum class that ends in
// kCount), striped. Sum() may miss what other threads add meanwhile.
template <typename Name>
class Counters {
 public:
  void Add(Name name, int64_t delta) {
    stripes_[ThreadStripe()].values[static_cast<size_t>(name)].fetch_add(
        delta, std::memory_order_relaxed);
  }

  // Clamped to 0: while other threads add, the sum can be negative for a
  // moment.
  uint64_t Sum(Name name) const {
    int64_t sum = 0;
    for (const Stripe& stripe : stripes_) {
      sum += stripe.values[static_cast<size_t>(name)].load(
          std::memory_order_relaxed);
    }
    return sum < 0 ? 0 : static_cast<uint64_t>(sum);
  }

 private:
  struct alignas(64) Stripe {
    std::array<std::atomic<int64_t>, static_cast<size_t>(Name::kCount)> values =
        {};
  };
  std::array<Stripe, kStripes> stripes_;
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_COUNTERS_H_
