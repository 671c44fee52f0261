#include "server/engine/background/leaf_work.h"

#include <vector>

#include "server/engine/background/rewrite_plan.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/home.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {
namespace {

// Most memory that a chunk's new form takes: its pages, and slab pages that the
// tails of its frames are the first to touch.
constexpr uint64_t kMergeBytes = kChunkBytes + (uint64_t{64} << 10);

bool HasFrameToMove(const Arena& arena, const ChunkMap& map) {
  bool found = false;
  map.ForEachFrame([&](const Frame* frame, BlockMask) {
    found |=
        arena.ShouldMove(frame) && !frame->outside() && !frame->HeldElsewhere();
  });
  return found;
}

}  // namespace

std::optional<uint64_t> LeafWork::MergeLeaf(uint64_t chunk, bool all_cold,
                                            uint32_t walk) const {
  std::vector<Home> to_merge;
  uint64_t first_chunk = 0;
  const auto visit = [&](const Content::LeafView& leaf) {
    first_chunk = leaf.first_chunk();
    // Reset before looking: young chunks below set it again, and so does every
    // later touch.
    const bool look = leaf.unsettled().exchange(false) || all_cold;
    if (!look) return;
    for (const int i : Bits(leaf.present())) {
      Age age = Age::kSettled;
      leaf.LookAt(i, [&](ChunkEntry entry) {
        age = AgeOf(ChunkMap::Unpack(entry), all_cold);
      });
      if (age == Age::kCold) to_merge.push_back(leaf.PinHome(i));
      if (age == Age::kYoung) leaf.unsettled().store(true);
    }
  };
  const std::optional<uint64_t> next = content_.VisitLeaf(chunk, visit, walk);
  if (next.has_value() && content_.may_share()) content_.AdoptLeaf(first_chunk);
  for (const Home& home : to_merge) {
    // Merging leaves free space in slabs. It must be reclaimed before more is
    // merged.
    if (parts_.evacuator.KeepUp(kMergeBytes)) {
      parts_.chunks.Rewrite(home, RewriteReason::kCold);
    } else {
      Unsettle(home);
    }
  }
  return next;
}

std::optional<TenantPart> LeafWork::FindPart(uint64_t chunk) const {
  // Numbers of merging's walks are even.
  const auto walk = static_cast<uint32_t>(2 * parts_.evacuator.rounds() + 1);
  const std::optional<uint64_t> first = content_.FindLeaf(chunk, walk);
  if (!first.has_value()) return std::nullopt;
  return TenantPart{*first, *first + kFanout};
}

void LeafWork::MovePart(uint64_t first_chunk) const {
  std::vector<Home> to_move;
  std::vector<Home> to_rewrite;
  content_.MoveMaps(first_chunk);
  content_.VisitLeaf(first_chunk, [&](const Content::LeafView& leaf) {
    if (leaf.first_chunk() != first_chunk) return;  // The leaf is gone.
    for (const int i : Bits(leaf.present())) {
      leaf.LookAt(i, [&](ChunkEntry entry) {
        const ChunkMap map = ChunkMap::Unpack(entry);
        if (HasFrameToMove(parts_.arena, map)) {
          to_move.push_back(leaf.PinHome(i));
        }
        if (HasMostlyDeadFrame(map)) to_rewrite.push_back(leaf.PinHome(i));
      });
    }
  });
  for (const Home& home : to_rewrite) {
    parts_.chunks.Rewrite(home, RewriteReason::kMostlyDead);
  }
  for (const Home& home : to_move) parts_.chunks.MoveFrames(home);
}

}  // namespace ramvol::engine
