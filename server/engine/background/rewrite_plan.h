// Plans which blocks of a chunk to compress together. Pure functions of a
// chunk's map, without locks or allocation.
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

// The groups to compress so that no block of the chunk stays dirty. A group
// within one smallest frame's run includes the run's other blocks. Empty when
// no block is dirty.
Groups PlanFlush(const ChunkMap& map, const PackingPolicy& packing);

struct RewritePlan {
  // The new frames; empty when the reason no longer holds.
  Groups groups;
  // What the chosen blocks take now: stored bytes, and frames.
  uint64_t old_stored = 0;
  int old_frames = 0;
};
// Plans a rewrite of the chunk's frames and, for kCold, its raw pages. Ignores
// the hot overlay: the cold slots of clean hot blocks count.
RewritePlan PlanRewrite(const ChunkMap& map, RewriteReason reason,
                        const PackingPolicy& packing);

enum class Age {
  kYoung,    // Touched since the last call, or has dirty blocks.
  kCold,     // Not young, and merging may gain something.
  kSettled,  // Not young, and nothing to gain.
};
// Also resets the heat of the chunk's frames. With `all_cold`, nothing counts
// as touched.
Age AgeOf(const ChunkMap& map, bool all_cold);

bool HasMostlyDeadFrame(const ChunkMap& map);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_BACKGROUND_REWRITE_PLAN_H_
