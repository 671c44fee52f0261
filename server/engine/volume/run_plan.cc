#include "server/engine/volume/run_plan.h"

#include <algorithm>
#include <bit>

#include "server/engine/content/hot_node.h"

namespace ramvol::engine {
namespace {

// What compressing a run again may take beyond what its frames take now: they
// may have been compressed at a higher level.
constexpr uint32_t kRecompressedShare = 8;
constexpr uint32_t kRecompressedBytes = 32;
// A block of a repeated pattern.
constexpr uint32_t kPatternBytes = 32;

bool IsZeroes(const Slot& slot) {
  return slot.kind == SlotKind::kHole ||
         (slot.kind == SlotKind::kPattern && slot.value == 0);
}

// Whether it leaves as it is.
bool IsClean(const ChunkMap& map, const Frame& frame) {
  return IsRun(frame.blocks) && map.BlocksOf(&frame) == frame.blocks;
}

// Whether the block has to be compressed before it leaves.
bool NeedsCompressing(const ChunkMap& map, BlockMask dirty, int block) {
  const Slot& slot = map.cold[block];
  if (slot.kind == SlotKind::kFrame) return !IsClean(map, *slot.frame());
  if (slot.kind == SlotKind::kPage) return Holds(dirty, block);
  return !IsZeroes(slot);
}

uint32_t BytesToCompress(const ChunkMap& map, BlockMask run) {
  uint32_t bytes = 0;
  for (const int block : Bits(run)) {
    const Slot& slot = map.cold[block];
    if (slot.kind == SlotKind::kPage) bytes += kBlockBytes;
    if (slot.kind == SlotKind::kPattern) bytes += kPatternBytes;
    const Frame* frame = slot.frame();
    if (frame == nullptr) continue;
    // Each frame once, at its first block here.
    const BlockMask live = map.BlocksOf(frame) & run;
    if (std::countr_zero(live) != block) continue;
    bytes += frame->stored + frame->stored / kRecompressedShare;
  }
  const auto most = static_cast<uint32_t>(std::popcount(run) * kBlockBytes);
  return std::min(bytes + kRecompressedBytes, most);
}

// The end of the run from `begin` on that is compressed together. It takes in
// whole frames, with what lies between their blocks.
int EndOfCompressed(const ChunkMap& map, BlockMask dirty, int begin) {
  int end = begin;
  for (int block = begin; block < kBlocksPerChunk; ++block) {
    if (block >= end && !NeedsCompressing(map, dirty, block)) break;
    int last = block;
    if (const Frame* frame = map.cold[block].frame()) {
      last = std::bit_width(map.BlocksOf(frame)) - 1;
    }
    end = std::max(end, last + 1);
  }
  return end;
}

}  // namespace

ChunkMap WithoutOverlay(const ChunkMap& map, BlockMask* dirty) {
  ChunkMap flat = map;
  flat.hot = nullptr;
  *dirty = map.hot == nullptr ? 0 : map.hot->dirty;
  for (const int block : Bits(*dirty)) {
    flat.cold[block] = Slot::OfPage(map.hot->pages[block]);
  }
  return flat;
}

RunPlan PlanRuns(const ChunkMap& map, BlockMask dirty) {
  RunPlan plan;
  for (int block = 0; block < kBlocksPerChunk;) {
    PlannedRun run{.first_block = block};
    int end = block + 1;
    const Slot& slot = map.cold[block];
    if (NeedsCompressing(map, dirty, block)) {
      run.kind = PlannedKind::kCompress;
      end = EndOfCompressed(map, dirty, block);
      run.bytes = BytesToCompress(map, RunMask(block, end - block));
    } else if (slot.kind == SlotKind::kFrame) {
      run.kind = PlannedKind::kFrame;
      run.frame = slot.frame();
      run.bytes = run.frame->stored;
      end = block + std::popcount(run.frame->blocks);
    } else if (slot.kind == SlotKind::kPage) {
      run.kind = PlannedKind::kPages;
      while (end < kBlocksPerChunk && map.cold[end].kind == SlotKind::kPage &&
             !Holds(dirty, end)) {
        ++end;
      }
      run.bytes = static_cast<uint32_t>((end - block) * kBlockBytes);
    } else {
      while (end < kBlocksPerChunk && IsZeroes(map.cold[end])) ++end;
    }
    run.blocks = end - block;
    plan.push_back(run);
    block = end;
  }
  return plan;
}

}  // namespace ramvol::engine
