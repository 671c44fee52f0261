#include "server/engine/background/reclaimer.h"

#include <algorithm>
#include <optional>

#include "server/engine/content/hot_cache.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {
namespace {

// Compressing a chunk's dirty blocks takes so much at most before it gives
// their pages back.
constexpr uint64_t kFlushBytes = uint64_t{64} << 10;
// The second round compresses what the first made room for: slabs that it
// emptied are where the compressed form of dirty blocks goes.
constexpr int kRounds = 2;
// Chunks that one request drops from a cache that is too full. More than a
// request adds, so that the cache shrinks; few, so that no request waits long.
constexpr int kMaxEvictions = 8;
// Most memory that a write asks for at once: for the index, when it is
// admitted.
constexpr uint64_t kMostAskedBytes = 256 << 10;

}  // namespace

uint64_t Reclaimer::StepsInARound(bool own_limit) const {
  // A step serves a request out of the queue or a chunk out of the cache. At
  // the volume's own limit a chunk is compressed and dropped in one step, and
  // then its turn is over. Among all volumes a chunk takes two: it is
  // compressed while it has dirty blocks, and dropped once it is clean. So no
  // more steps than blocks and dirty blocks can give anything back.
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
    // All that is left takes memory before it gives any back.
    return false;
  } else if (HotChunk dirty = parts_.hot.PickDirty(); dirty.owner != nullptr) {
    dirty.owner->FlushChunk(dirty.chunk);
    return true;
  }
  // Frames that are mostly dead wait there.
  return parts_.work.RunOne();
}

bool Reclaimer::Reclaim(uint64_t bytes, absl::FunctionRef<bool()> enough) {
  for (int round = 0; round < kRounds; ++round) {
    uint64_t steps = StepsInARound(parts_.account.OwnLimitRefuses(bytes));
    for (; steps > 0 && ReclaimFromCache(bytes); --steps) {
      if (enough()) return true;
    }
    // What is free in slabs is not charged to any volume.
    if (parts_.account.OwnLimitRefuses(bytes)) return false;
    // The evacuator's round that is under way, and a whole one.
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
