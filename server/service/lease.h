// When a volume with a time to live expires.
#ifndef RAMVOL_SERVER_SERVICE_LEASE_H_
#define RAMVOL_SERVER_SERVICE_LEASE_H_

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"
#include "server/engine/types/volume_types.h"

namespace ramvol::service {

// Learns of uses by looking, now and then: requests write nothing down for it.
// A use counts from the look that noticed it, so a volume never expires early,
// and late by at most the time between two looks.
//
// Not thread-safe. Times are those of SteadyNowNs.
class Lease {
 public:
  // A look every 32nd of the time to live, within these bounds.
  static constexpr absl::Duration kMinLook = absl::Seconds(1);
  static constexpr absl::Duration kMaxLook = absl::Hours(1);

  // The time to live begins anew; 0 means that there is none.
  void Start(absl::Duration ttl, const engine::VolumeUse& use, int64_t now_ns) {
    ttl_ns_ = absl::ToInt64Nanoseconds(ttl);
    used_ns_ = now_ns;
    seen_ = use;
  }
  void End() { ttl_ns_ = 0; }

  // Whether there is a time to live.
  bool granted() const { return ttl_ns_ > 0; }

  void Look(const engine::VolumeUse& use, int64_t now_ns) {
    if (use != seen_ || use.attached) used_ns_ = now_ns;
    seen_ = use;
  }
  // As of the last look.
  const engine::VolumeUse& seen() const { return seen_; }
  // The time that is left unless it is used; 0 when it is over.
  absl::Duration Left(int64_t now_ns) const {
    return absl::Nanoseconds(
        std::max<int64_t>(0, ttl_ns_ - (now_ns - used_ns_)));
  }
  // Whether it was expired at the last look.
  bool IsOver(int64_t now_ns) const {
    return granted() && !seen_.attached && Left(now_ns) == absl::ZeroDuration();
  }

  // When to look again.
  int64_t NextLookNs(int64_t now_ns) const {
    const absl::Duration usual =
        std::clamp(absl::Nanoseconds(ttl_ns_ / kLooks), kMinLook, kMaxLook);
    return now_ns + absl::ToInt64Nanoseconds(
                        std::min(usual, std::max(Left(now_ns), kMinLook)));
  }

 private:
  static constexpr int64_t kLooks = 32;

  int64_t ttl_ns_ = 0;
  int64_t used_ns_ = 0;
  engine::VolumeUse seen_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_LEASE_H_
