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
constexpr uint64_t kMostAskedBytes = 256 << 10;

}  // namespace

uint64_t Reclaimer::StepsInARound(bool own_limit) const {
  // A step serves one request of the queue or one chunk of the cache. At the
  // volume's own limit, one step compresses and drops a chunk. At the server's
  // limit, a chunk takes two steps: one compresses its dirty blocks, the next
  // drops the clean ones. So at most as many steps as there are hot and dirty
  // blocks can free memory.
  const uint64_t in_cache =
      own_limit ? parts_.content.hot_chunks()
                : std::max<int64_t>(0, parts_.hot.hot_blocks()) +
                      std::max<int64_t>(0, parts_.hot.dirty_blocks());
  return in_cache + WorkQueue::kMaxRequests;
}

bool Reclaimer::ReclaimFromCache(uint64_t bytes) {
  if (parts_.account.OwnLimitRefuses(bytes)) {
    if (const auto chunk = parts_.content.NextHotChunk(); chunk.has_value()) {
      parts_.owner.FlushChunk(*chunk);
      parts_.owner.DropClean(*chunk);
      return true;
    }
  } else if (HotChunk clean = parts_.hot.PickClean(); clean.owner != nullptr) {
    clean.owner->DropClean(clean.chunk);
    return true;
  } else if (!parts_.arena.HasRoom(kFlushBytes, Priority::kReclaim)) {
    // Everything else needs memory before it frees any.
    return false;
  } else if (HotChunk dirty = parts_.hot.PickDirty(); dirty.owner != nullptr) {
    dirty.owner->FlushChunk(dirty.chunk);
    return true;
  }
  // The queue holds frames that are mostly dead.
  return parts_.work.RunOne();
}

bool Reclaimer::Reclaim(uint64_t bytes, absl::FunctionRef<bool()> enough) {
  for (int round = 0; round < kRounds; ++round) {
    uint64_t steps = StepsInARound(parts_.account.OwnLimitRefuses(bytes));
    for (; steps > 0 && ReclaimFromCache(bytes); --steps) {
      if (enough()) return true;
    }
    // Free space in slabs is charged to no volume, so it does not help at the
    // volume's own limit.
    if (parts_.account.OwnLimitRefuses(bytes)) return false;
    // Wait for the round under way to end, and for a whole one.
    const uint64_t last_round = parts_.evacuator.rounds() + 2;
    while (parts_.evacuator.rounds() < last_round &&
           parts_.evacuator.Step(Evacuation::kTight)) {
      if (enough()) return true;
    }
  }
  return false;
}

bool Reclaimer::MakeRoom(uint64_t bytes) {
  return Reclaim(bytes, [&] { return parts_.account.HasRoom(bytes); });
}

bool Reclaimer::FindRoom(uint64_t bytes) {
  return parts_.account.HasRoom(bytes) || MakeRoom(bytes);
}

void Reclaimer::PrepareToReserve(uint64_t bytes) {
  const Arena& arena = parts_.arena;
  const uint64_t hot_bytes = parts_.hot.hot_blocks() * kBlockBytes;
  const uint64_t rest =
      arena.used_bytes() - std::min(arena.used_bytes(), hot_bytes);
  if (rest + bytes <= arena.limit_bytes()) FindRoom(bytes);
}

PageId Reclaimer::NewPage(bool must_succeed) {
  PageId page = parts_.account.NewPage(Priority::kNormal);
  if (page != 0) return page;
  Reclaim(kBlockBytes, [&] {
    page = parts_.account.NewPage(Priority::kNormal);
    return page != 0;
  });
  if (page != 0 || !must_succeed) return page;
  return parts_.account.NewPage(Priority::kGuaranteed);
}

Refusal Reclaimer::OutOfMemory() const {
  return {parts_.account.OwnLimitRefuses(kMostAskedBytes)
              ? Cause::kVolumeLimit
              : Cause::kServerLimit};
}

void Reclaimer::EvictSome() {
  for (int i = 0; i < kMaxEvictions && parts_.hot.OverCapacity(); ++i) {
    const HotChunk clean = parts_.hot.PickClean();
    if (clean.owner == nullptr) return;
    clean.owner->DropClean(clean.chunk);
  }
}

void Reclaimer::Throttle() {
  if (!parts_.hot.OverDirtyLow() && !parts_.hot.OverCapacity()) return;
  parts_.work.Wake();
  if (parts_.hot.OverDirtyHigh()) {
    const HotChunk dirty = parts_.hot.PickDirty();
    if (dirty.owner != nullptr) {
      parts_.totals().counts.Add(Total::kThrottledWrites, 1);
      dirty.owner->FlushChunk(dirty.chunk);
    }
  }
  EvictSome();
}

}  // namespace ramvol::engine
