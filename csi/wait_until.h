// Waits by looking.
#ifndef RAMVOL_CSI_WAIT_UNTIL_H_
#define RAMVOL_CSI_WAIT_UNTIL_H_

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace ramvol::csi_driver {

// Asks until `done()`, for lack of anything to wait for. False when the
// deadline comes first.
template <typename Done>
bool WaitUntil(absl::Time deadline, Done done) {
  while (!done()) {
    if (absl::Now() >= deadline) return false;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_WAIT_UNTIL_H_
