// Which blocks of a chunk are to be compressed together, by what the chunk
// holds. Functions of a map: no locks, no memory.
#ifndef RAMVOL_SERVER_ENGINE_BACKGROUND_REWRITE_PLAN_H_
#define RAMVOL_SERVER_ENGINE_BACKGROUND_REWRITE_PLAN_H_

#include <cstdint>

#include "server/engine/content/chunk_map.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/content/packer.h"
#include "server/engine/content/packing_policy.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

// All blocks in `groups`.
BlockMask AllOf(const Groups& groups);

// What to compress so that none of the chunk's blocks is dirty: these, and the
// rest of a smallest frame's run, so that one frame holds it. No groups when
// none is dirty.
Groups PlanFlush(const ChunkMap& map, const PackingPolicy& packing);

struct RewritePlan {
  // The new frames; none when the reason is gone.
  Groups groups;
  // What the chosen blocks take now: compressed bytes (or raw ones), frames.
  uint64_t old_stored = 0;
  int old_frames = 0;
};
// What to make anew of the chunk's frames (and when it is cold, of its raw
// pages). The hot overlay is left out: a clean hot block's cold slot counts.
RewritePlan PlanRewrite(const ChunkMap& map, RewriteReason reason,
                        const PackingPolicy& packing);

enum class Age {
  kYoung,    // Touched since the last call, or about to change.
  kCold,     // Else, when merging may gain something.
  kSettled,  // Else.
};
// Resets what its frames remember of touches. With `all_cold`, nothing counts
// as touched.
Age AgeOf(const ChunkMap& map, bool all_cold);

bool HasMostlyDeadFrame(const ChunkMap& map);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_BACKGROUND_REWRITE_PLAN_H_
