// Bounds how many events are logged.
#ifndef RAMVOL_BASE_LOG_RATE_H_
#define RAMVOL_BASE_LOG_RATE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/log_line.h"

namespace ramvol {

// Allows kBurst events of each kind at once, and kPerSecond after that. Events
// that repeat are allowed once in kRepeatNs for each volume and reason. Counts
// the events that it does not allow.
//
// Not thread-safe. Times come from SteadyNowNs.
class LogRate {
 public:
  static constexpr int64_t kBurst = 100;
  static constexpr int64_t kPerSecond = 10;
  static constexpr int64_t kRepeatNs = 10'000'000'000;

  // Returns whether to log the event. If not, counts it as left out.
  bool Allow(Event event, const LogFields& fields, int64_t now_ns);
  void CountLeftOut(Event event) { ++Of(event).left_out; }
  // Returns how many events were left out since the last call.
  uint64_t TakeLeftOut(Event event);

  // Of an event that repeats: whether it came within the last kRepeatNs. Else
  // remembers it.
  bool IsRepeated(Event event, const LogFields& fields, int64_t now_ns);

 private:
  // How many repeating events are remembered. One may displace another, which
  // may then be logged again sooner.
  static constexpr size_t kRepeats = 1024;

  struct Kind {
    // When all events would be over if each took 1/kPerSecond seconds.
    int64_t busy_until_ns = 0;
    uint64_t left_out = 0;
  };
  struct Repeat {
    size_t hash = 0;
    int64_t until_ns = 0;
  };

  Kind& Of(Event event) { return kinds_[static_cast<size_t>(event)]; }

  std::array<Kind, kEvents> kinds_ = {};
  std::array<Repeat, kRepeats> repeats_ = {};
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_LOG_RATE_H_
