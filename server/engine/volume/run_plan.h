// Plans how the blocks of a chunk leave the engine. Pure functions of a chunk's
// map.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_RUN_PLAN_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_RUN_PLAN_H_

#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/frame.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

// The map without its hot overlay: a clean hot block is in its cold slot, and a
// dirty one is a page. References stay those of `map`. `*dirty` becomes the
// dirty blocks.
ChunkMap WithoutOverlay(const ChunkMap& map, BlockMask* dirty);

enum class PlannedKind : uint8_t { kZeroes, kPages, kFrame, kCompress };

// Consecutive blocks that leave in one piece.
struct PlannedRun {
  PlannedKind kind = PlannedKind::kZeroes;
  int first_block = 0;
  int blocks = 0;
  const Frame* frame = nullptr;  // For kFrame.
  // Compressed bytes; for kCompress about as many.
  uint32_t bytes = 0;
};
using RunPlan = absl::InlinedVector<PlannedRun, 4>;

// `map` has no overlay; its pages `dirty` were not tried to be compressed yet.
// A frame of consecutive blocks, all of them live, leaves as it is.
RunPlan PlanRuns(const ChunkMap& map, BlockMask dirty);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_RUN_PLAN_H_
