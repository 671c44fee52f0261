// How long operations of one kind have taken lately.
#ifndef RAMVOL_BASE_COST_ESTIMATE_H_
#define RAMVOL_BASE_COST_ESTIMATE_H_

#include <atomic>
#include <cstdint>

namespace ramvol {

// Follows the median, so that an operation whose thread lost its core now and
// then does not count. Thread-safe. Threads may overwrite each other's steps;
// an estimate can bear that.
class CostEstimate {
 public:
  void Note(int64_t took_ns) {
    const int64_t before = ns();
    const int64_t step = before / 16 + 1;
    ns_.store(took_ns > before ? before + step : before - step,
              std::memory_order_relaxed);
  }

  // About the median, in nanoseconds; 0 at first.
  int64_t ns() const { return ns_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> ns_{0};
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_COST_ESTIMATE_H_
