#include "base/duration_text.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

namespace ramvol {
namespace {

constexpr absl::Duration kDay = absl::Hours(24);

std::string Days(absl::Duration duration) {
  absl::Duration rest;
  const int64_t days = absl::IDivDuration(duration, kDay, &rest);
  const int64_t hours = absl::ToInt64Hours(rest);
  return hours == 0 ? absl::StrCat(days, "d")
                    : absl::StrCat(days, "d", hours, "h");
}

// The smallest difference that matters.
absl::Duration UnitOf(absl::Duration duration) {
  if (duration < absl::Seconds(1)) return absl::Milliseconds(1);
  if (duration < absl::Seconds(10)) return absl::Milliseconds(10);
  if (duration < absl::Minutes(1)) return absl::Milliseconds(100);
  return absl::Seconds(1);
}

}  // namespace

std::string DurationText(absl::Duration duration) {
  if (duration <= absl::ZeroDuration()) return "0s";
  if (duration < absl::Milliseconds(1)) return "<1ms";
  if (duration >= kDay) return Days(duration);
  return absl::FormatDuration(absl::Trunc(duration, UnitOf(duration)));
}

}  // namespace ramvol
