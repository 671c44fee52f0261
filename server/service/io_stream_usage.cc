#include "server/service/io_stream_usage.h"

#include <algorithm>

namespace ramvol::service {

bool IoStreamUsage::MayBegin(Lane lane) {
  Waits& waits = of(lane);
  if (waits.turns > 0) return true;
  if (!waits.queue.empty()) return false;
  if (!limiters_.limited()) return true;
  Queue(lane);
  return waits.turns > 0;
}

void IoStreamUsage::Queue(Lane lane) {
  Waits& waits = of(lane);
  const size_t most = std::min(session_.LimitedWaiting(lane), kMaxWaits);
  while (waits.turns + waits.queue.size() < most) {
    const size_t n = waits.turns + waits.queue.size();
    auto wait =
        limiters_.Take(flow(), session_.LimitedCost(lane, n),
                       [admitted = admitted_, lane] { admitted(lane); });
    if (wait != nullptr) {
      waits.queue.push_back(std::move(wait));
      continue;
    }
    // Limits that were lifted meanwhile let nobody overtake what waits.
    ++waits.turns;
    if (waits.queue.empty()) return;
  }
}

void IoStreamUsage::Received() {
  for (const Lane lane : {Lane::kPrompt, Lane::kMayWait}) {
    if (!of(lane).queue.empty()) Queue(lane);
  }
}

void IoStreamUsage::Admitted(Lane lane) {
  Waits& waits = of(lane);
  if (waits.queue.empty()) return;  // Abandoned.
  waits.queue.pop_front();
  ++waits.turns;
  if (!waits.queue.empty()) Queue(lane);
}

void IoStreamUsage::Abandon() {
  for (Waits& waits : waits_) {
    for (const auto& wait : waits.queue) {
      (void)limiters_.Withdraw(flow(), wait.get());
    }
    waits = Waits();
  }
}

}  // namespace ramvol::service
