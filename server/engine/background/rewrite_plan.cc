#include "server/engine/background/rewrite_plan.h"

#include <atomic>
#include <bit>

#include "server/engine/content/frame.h"
#include "server/engine/content/hot_node.h"

namespace ramvol::engine {
namespace {

// Whether to rewrite a frame of which the blocks `live` are left.
bool IsChosen(const Frame& frame, BlockMask live, RewriteReason reason,
              const PackingPolicy& packing) {
  if (frame.outside() || frame.HeldElsewhere()) return false;
  switch (reason) {
    case RewriteReason::kMostlyDead:
      return frame.MostlyDead(live);
    case RewriteReason::kReadApart:
      // Long enough to be split, and read more than once since the last look.
      return 1 << frame.SpanLog2() > packing.split_span() &&
             (frame.heat.load(std::memory_order_relaxed) & ~Frame::kYoung) > 1;
    case RewriteReason::kAnyDead:
      return live != frame.blocks;
    case RewriteReason::kCold:
      break;
  }
  return true;
}

}  // namespace

BlockMask AllOf(const Groups& groups) {
  BlockMask all = 0;
  for (const BlockMask group : groups) all |= group;
  return all;
}

Groups PlanFlush(const ChunkMap& map, const PackingPolicy& packing) {
  if (map.hot == nullptr || map.hot->dirty == 0) return {};
  const int min_span = packing.min_span();
  Groups groups = Partition(map.hot->dirty, min_span, packing.split_span());
  for (BlockMask& group : groups) {
    // A group within one smallest run takes in the run's other blocks, so that
    // one frame holds them all. With smallest frames of one block, there are no
    // others.
    const int first = std::countr_zero(group) / min_span * min_span;
    if (std::bit_width(group) <= first + min_span) {
      group = map.PresentBlocks() & RunMask(first, min_span);
    }
  }
  return groups;
}

RewritePlan PlanRewrite(const ChunkMap& map, RewriteReason reason,
                        const PackingPolicy& packing) {
  const bool cold = reason == RewriteReason::kCold;
  RewritePlan plan;
  BlockMask chosen = 0;
  for (int block = 0; cold && block < kBlocksPerChunk; ++block) {
    if (map.cold[block].kind != SlotKind::kPage) continue;
    chosen |= BlockBit(block);
    plan.old_stored += kBlockBytes;
  }
  map.ForEachFrame([&](const Frame* frame, BlockMask live) {
    if (!IsChosen(*frame, live, reason, packing)) return;
    chosen |= live;
    plan.old_stored += frame->stored;
    ++plan.old_frames;
  });
  // Raw pages alone did not compress before and will not now.
  if (plan.old_frames == 0) return plan;
  plan.groups = Partition(chosen, packing.min_span(),
                          cold ? packing.max_span() : packing.split_span());
  return plan;
}

Age AgeOf(const ChunkMap& map, bool all_cold) {
  // Dirty blocks will soon be compressed, which changes the chunk.
  bool young = map.hot != nullptr && map.hot->dirty != 0;
  bool mergeable = false;
  map.ForEachFrame([&](Frame* frame, BlockMask live) {
    // This may overlook a concurrent touch, which only makes the chunk look
    // colder.
    const uint8_t heat = frame->heat.load(std::memory_order_relaxed);
    if (heat != 0) frame->heat.store(0, std::memory_order_relaxed);
    young |= (heat & Frame::kYoung) != 0 && !all_cold;
    mergeable |= !frame->outside() && !frame->HeldElsewhere() &&
                 (!frame->merged.load(std::memory_order_relaxed) ||
                  live != frame->blocks);
  });
  if (young) return Age::kYoung;
  return mergeable ? Age::kCold : Age::kSettled;
}

bool HasMostlyDeadFrame(const ChunkMap& map) {
  bool found = false;
  map.ForEachFrame([&](const Frame* frame, BlockMask live) {
    found |=
        frame->MostlyDead(live) && !frame->outside() && !frame->HeldElsewhere();
  });
  return found;
}

}  // namespace ramvol::engine
