#include "server/service/limit_watch.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/event_log.h"
#include "base/reason.h"
#include "server/engine/volume.h"

namespace ramvol::service {
namespace {

bool IsLow(uint64_t used, uint64_t limit, bool was_low) {
  const uint64_t percent =
      was_low ? LimitWatch::kAgainPercent : LimitWatch::kLowPercent;
  return limit > 0 && used >= limit / 100 * percent;
}

std::string Text(uint64_t used, uint64_t limit) {
  return absl::StrCat(used, " of ", limit, " bytes are in use");
}

}  // namespace

void LimitWatch::Look() {
  const engine::EngineStats stats = engine_.Stats();
  const bool low =
      IsLow(stats.memory_used_bytes, stats.memory_limit_bytes, low_);
  if (low && !low_) {
    LogEvent(Event::kMemoryLow, {.reason = reason::kServerMemoryLimit,
                                 .message = Text(stats.memory_used_bytes,
                                                 stats.memory_limit_bytes)});
  }
  low_ = low;
  LookAtVolumes();
}

void LimitWatch::LookAtVolumes() {
  const auto volumes = engine_.List(after_, kVolumesAtOnce);
  for (const auto& [name, volume] : volumes) {
    if (volume->options().memory_limit_bytes == 0) continue;
    const engine::VolumeStats stats = volume->Stats();
    const bool was_low = low_before_.contains(volume->uid());
    if (!IsLow(stats.memory_bytes, stats.memory_limit_bytes, was_low)) continue;
    low_now_.insert(volume->uid());
    if (was_low) continue;
    LogEvent(Event::kMemoryLow,
             {.volume = name,
              .reason = reason::kVolumeMemoryLimit,
              .message = Text(stats.memory_bytes, stats.memory_limit_bytes),
              .uid = volume->uid()});
  }
  if (volumes.size() == kVolumesAtOnce) {
    after_ = volumes.back().name;
    return;
  }
  after_.clear();
  low_before_ = std::exchange(low_now_, {});
}

}  // namespace ramvol::service
