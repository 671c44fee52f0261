// Durations for people.
#ifndef RAMVOL_BASE_DURATION_TEXT_H_
#define RAMVOL_BASE_DURATION_TEXT_H_

#include <string>

#include "absl/time/time.h"

namespace ramvol {

// Writes how long something took or takes, cut off to what people read:
// "350ms", "2.25s", "12.5s", "1h2m5s", and from a day on days and hours,
// "3d4h". Less than a millisecond is "<1ms"; what is not positive is "0s".
std::string DurationText(absl::Duration duration);

}  // namespace ramvol

#endif  // RAMVOL_BASE_DURATION_TEXT_H_
