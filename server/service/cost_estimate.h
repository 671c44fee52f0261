// What small operations take of late.
#ifndef RAMVOL_SERVER_SERVICE_COST_ESTIMATE_H_
#define RAMVOL_SERVER_SERVICE_COST_ESTIMATE_H_

#include <atomic>
#include <chrono>
#include <cstdint>

namespace ramvol::service {

// Follows the median of what it is told, so that a thread that lost its core
// now and then does not count. Thread-safe; threads may overwrite each other's
// steps, which does not matter.
class CostEstimate {
 public:
  // More than this at once is worth a thread's waking up.
  static constexpr int64_t kWorthHandingOverNs = 50'000;

  static int64_t NowNs() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }

  void Note(int64_t took_ns) {
    const int64_t cost_ns = cost_ns_.load(std::memory_order_relaxed);
    const int64_t step = cost_ns / 16 + 1;
    cost_ns_.store(took_ns > cost_ns ? cost_ns + step : cost_ns - step,
                   std::memory_order_relaxed);
  }

  // Whether `count` of them together take less time than it takes to hand them
  // to another thread.
  bool IsCheap(int64_t count) const {
    return count * cost_ns_.load(std::memory_order_relaxed) <=
           kWorthHandingOverNs;
  }

 private:
  std::atomic<int64_t> cost_ns_{0};
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_COST_ESTIMATE_H_
