// What calls that were interrupted left on this node.
#ifndef RAMVOL_CSI_LEFTOVERS_H_
#define RAMVOL_CSI_LEFTOVERS_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/counters.h"
#include "csi/device_attacher.h"
#include "csi/mounter.h"
#include "csi/volume_locks.h"
#include "csi/volumes.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {

struct LeftoverCounts {
  uint64_t devices = 0;
  uint64_t volumes = 0;   // Inline ones.
  uint64_t failures = 0;  // Also to ask ramvold.
};

// What cannot be taken away is tried again for as long as that fails, rarely:
// once somebody has ended what is in the way, nobody has to restart the driver.
//
// Borrows all that it is given. Thread-safe, but for TakeAway and next_try,
// which belong to one thread at a time.
class Leftovers {
 public:
  // Between tries; twice as long each time that nothing came of it.
  static constexpr absl::Duration kMinPause = absl::Seconds(10);
  static constexpr absl::Duration kMaxPause = absl::Minutes(10);

  Leftovers(const Volumes* volumes, DeviceAttacher* attacher,
            const Mounter* mounter, VolumeLocks* locks)
      : volumes_(volumes),
        attacher_(attacher),
        mounter_(mounter),
        locks_(locks) {}

  // Takes away devices that nothing uses, and inline volumes whose pod is gone:
  // only those that the first successful call found. Takes the locks of these,
  // and leaves what calls have to the next time. Returns lines for the log: of
  // each that it took away, and, at the first time, of each that it could not.
  //
  // An error of ramvold's: nothing was looked at; call it again.
  absl::StatusOr<std::vector<std::string>> TakeAway(absl::Time deadline);
  // When to call TakeAway; InfiniteFuture: nothing is left.
  absl::Time next_try() const { return next_try_; }

  // All together so far.
  LeftoverCounts counts() const;

 private:
  enum class Counter { kDevice, kInlineVolume, kFailure, kCount };
  // What nobody may use.
  struct Suspect {
    std::string name;  // ramvold's.
    // Of a device; a later volume of the name has another one.
    std::string uid;
    std::optional<v1::Volume> inline_volume;  // Not set: it is a device.
    bool failed = false;                      // Before.
  };
  // What was done about a suspect. Nothing, of one that is in use.
  struct Deed {
    Counter kind;
    std::string done;
    std::string failed;
    absl::Status status;
  };

  absl::Status FindSuspects();
  std::optional<Deed> TakeDevice(const std::string& name,
                                 const std::string& uid,
                                 absl::Time deadline) const;
  std::optional<Deed> TakeInline(const v1::Volume& volume,
                                 absl::Time deadline) const;
  // The first one. Puts it at the end if it is not done with.
  std::optional<std::string> TakeNext(absl::Time deadline);

  const Volumes* const volumes_;
  DeviceAttacher* const attacher_;
  const Mounter* const mounter_;
  VolumeLocks* const locks_;
  Counters<Counter> counts_;
  std::optional<std::deque<Suspect>> suspects_;  // Not set: not known yet.
  absl::Duration pause_ = kMinPause;
  absl::Time next_try_ = absl::InfinitePast();
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_LEFTOVERS_H_
