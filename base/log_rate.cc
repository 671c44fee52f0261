#include "base/log_rate.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"

namespace ramvol {
namespace {

constexpr int64_t kNsEach = 1'000'000'000 / LogRate::kPerSecond;

}  // namespace

bool LogRate::Allow(Event event, const LogFields& fields, int64_t now_ns) {
  Kind& kind = Of(event);
  const int64_t begins_ns = std::max(kind.busy_until_ns, now_ns);
  const bool full = begins_ns + kNsEach - now_ns > LogRate::kBurst * kNsEach;
  if (full || (TraitsOf(event).repeats && IsRepeated(event, fields, now_ns))) {
    ++kind.left_out;
    return false;
  }
  kind.busy_until_ns = begins_ns + kNsEach;
  return true;
}

bool LogRate::IsRepeated(Event event, const LogFields& fields, int64_t now_ns) {
  const size_t hash = absl::HashOf(event, fields.volume, fields.reason);
  Repeat& repeat = repeats_[hash % kRepeats];
  if (repeat.hash == hash && now_ns < repeat.until_ns) return true;
  repeat = {hash, now_ns + kRepeatNs};
  return false;
}

uint64_t LogRate::TakeLeftOut(Event event) {
  return std::exchange(Of(event).left_out, 0);
}

}  // namespace ramvol
