// Waits for what other threads or processes do.
#ifndef RAMVOL_TESTS_SUPPORT_EVENTUALLY_H_
#define RAMVOL_TESTS_SUPPORT_EVENTUALLY_H_

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace ramvol::testing {

// Asks until `condition()` is true; false after two minutes, which is more than
// it takes on any machine.
template <typename Condition>
bool Eventually(Condition condition) {
  const absl::Time end = absl::Now() + absl::Minutes(2);
  while (!condition()) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return true;
}

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_SUPPORT_EVENTUALLY_H_
