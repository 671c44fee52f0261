// Whether several threads should carry out what waits at a synchronous device.
#ifndef RAMVOL_BASE_BLOCK_WORK_ESTIMATE_H_
#define RAMVOL_BASE_BLOCK_WORK_ESTIMATE_H_

#include <cstdint>

#include "base/cost_estimate.h"

namespace ramvol::block {

// Of the requests of one client. Thread-safe.
class WorkEstimate {
 public:
  // A request has taken so long.
  void Note(int64_t took_ns) { cost_.Note(took_ns); }

  // Whether so many requests that wait are worth waking a thread.
  bool WorthWaking(int64_t waiting) const {
    return waiting * cost_.ns() >= kWorthWakingNs;
  }
  // Whether requests are worth it to be carried out by a thread that is awake,
  // rather than by the one that has found them.
  bool WorthSharing() const { return cost_.ns() >= kWorthSharingNs; }

 private:
  // Waking costs about 50 us, but a client on the same machine may need that
  // core.
  static constexpr int64_t kWorthWakingNs = 200'000;
  // A few times what moving a request to another core costs.
  static constexpr int64_t kWorthSharingNs = 2'000;

  CostEstimate cost_;
};

}  // namespace ramvol::block

#endif  // RAMVOL_BASE_BLOCK_WORK_ESTIMATE_H_
