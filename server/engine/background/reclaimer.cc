#include "server/engine/background/reclaimer.h"

#include <algorithm>
#include <optional>

#include "server/engine/content/hot_cache.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {
namespace {

// Most memory that flushing a chunk takes before it frees the dirty pages.
constexpr uint64_t kFlushBytes = uint64_t{64} << 10;
// The first round empties slabs. The second can compress more dirty blocks,
// because their frames then fit into these slabs.
constexpr int kRounds = 2;
// Most chunks that one request drops from an overfull cache: more than a
// request adds, so that the cache shrinks, but few enough not to delay the
// request.
constexpr int kMaxEvictions = 8;
// Most memory that a write asks for at once: its metadata, at admission.
constexpr uint64_t kMostAskedBytes = 640 << 10;

}  // namespace

uint64_t Reclaimer::StepsInARound(const Layer& layer, bool own_limit) const {
  // A step serves one request of the queue or one chunk of the cache. At the
  // volume's own limit, one step compresses and drops a chunk. At the server's
  // limit, a chunk takes two steps: one compresses its dirty blocks, the next
  // drops the clean ones. So at most as many steps as there are hot and dirty
  // blocks can free memory.
  const uint64_t in_cache =
      own_limit ? layer.hot_nodes.size()
                : std::max<int64_t>(0, parts_.hot.hot_blocks()) +
                      std::max<int64_t>(0, parts_.hot.dirty_blocks());
  return in_cache + WorkQueue::kMaxRequests;
}

bool Reclaimer::ReclaimFromCache(Layer& layer, uint64_t bytes) {
  if (layer.account.OwnLimitRefuses(bytes)) {
    if (const Home home = layer.hot_nodes.Rotate()) {
      parts_.chunks.Flush(home);
      parts_.chunks.DropClean(home);
      return true;
    }
  } else if (const Home clean = parts_.hot.PickClean()) {
    parts_.chunks.DropClean(clean);
    return true;
  } else if (!parts_.arena.HasRoom(kFlushBytes, Priority::kReclaim)) {
    // Everything else needs memory before it frees any.
    return false;
  } else if (const Home dirty = parts_.hot.PickDirty()) {
    parts_.chunks.Flush(dirty);
    return true;
  }
  // The queue holds frames that are mostly dead.
  return parts_.RunOneRequest();
}

bool Reclaimer::Reclaim(Layer& layer, uint64_t bytes,
                        absl::FunctionRef<bool()> enough) {
  for (int round = 0; round < kRounds; ++round) {
    uint64_t steps = StepsInARound(layer, layer.account.OwnLimitRefuses(bytes));
    for (; steps > 0 && ReclaimFromCache(layer, bytes); --steps) {
      if (enough()) return true;
    }
    // Free space in slabs is charged to no volume, so it does not help at the
    // volume's own limit.
    if (layer.account.OwnLimitRefuses(bytes)) return false;
    // Wait for the round under way to end, and for a whole one.
    const uint64_t last_round = parts_.evacuator.rounds() + 2;
    while (parts_.evacuator.rounds() < last_round &&
           parts_.evacuator.Step(Evacuation::kTight)) {
      if (enough()) return true;
    }
  }
  return false;
}

bool Reclaimer::MakeRoom(Layer& layer, uint64_t bytes) {
  return Reclaim(layer, bytes, [&] { return layer.account.HasRoom(bytes); });
}

bool Reclaimer::FindRoom(Layer& layer, uint64_t bytes) {
  return layer.account.HasRoom(bytes) || MakeRoom(layer, bytes);
}

void Reclaimer::PrepareToReserve(Layer& layer, uint64_t bytes) {
  const Arena& arena = parts_.arena;
  const uint64_t hot_bytes = parts_.hot.hot_blocks() * kBlockBytes;
  const uint64_t rest =
      arena.used_bytes() - std::min(arena.used_bytes(), hot_bytes);
  if (rest + bytes <= arena.limit_bytes()) FindRoom(layer, bytes);
}

PageId Reclaimer::NewPage(Layer& layer, bool must_succeed) {
  PageId page = layer.account.NewPage(Priority::kNormal);
  if (page != 0) return page;
  Reclaim(layer, kBlockBytes, [&] {
    page = layer.account.NewPage(Priority::kNormal);
    return page != 0;
  });
  if (page != 0 || !must_succeed) return page;
  return layer.account.NewPage(Priority::kGuaranteed);
}

Refusal Reclaimer::OutOfMemory(const Layer& layer) const {
  return {layer.account.OwnLimitRefuses(kMostAskedBytes) ? Cause::kVolumeLimit
                                                         : Cause::kServerLimit};
}

void Reclaimer::EvictSome() {
  for (int i = 0; i < kMaxEvictions && parts_.hot.OverCapacity(); ++i) {
    const Home clean = parts_.hot.PickClean();
    if (!clean) return;
    parts_.chunks.DropClean(clean);
  }
}

void Reclaimer::Throttle() {
  if (!parts_.hot.OverDirtyLow() && !parts_.hot.OverCapacity()) return;
  parts_.work.Wake();
  if (parts_.hot.OverDirtyHigh()) {
    if (const Home dirty = parts_.hot.PickDirty()) {
      parts_.totals.counts.Add(Total::kThrottledWrites, 1);
      parts_.chunks.Flush(dirty);
    }
  }
  EvictSome();
}

}  // namespace ramvol::engine
