#include "server/engine/background/compactor.h"

#include <bit>
#include <cstring>
#include <utility>

#include "server/engine/content/hot_node.h"
#include "server/engine/content/packer.h"
#include "server/engine/content/scratch.h"

namespace ramvol::engine {
namespace {

// Most memory that a chunk's new form takes: its pages, and slab pages that the
// tails of its frames are the first to touch.
constexpr uint64_t kMergeBytes = kChunkBytes + (uint64_t{64} << 10);

// Decides how much of the reserve a rewrite may use.
Priority PriorityOf(RewriteReason reason) {
  switch (reason) {
    case RewriteReason::kReadApart:
      return Priority::kNormal;  // Splitting takes more than it gives back.
    case RewriteReason::kCold:
      return Priority::kMerge;
    case RewriteReason::kMostlyDead:
    case RewriteReason::kAnyDead:
      break;
  }
  return Priority::kReclaim;
}

void PutFrame(ChunkMap& map, BlockMask blocks, Frame* frame) {
  for (const int block : Bits(blocks)) map.cold[block] = Slot::OfFrame(frame);
}

}  // namespace

bool Compactor::PackGroups(const Groups& groups, const char* content, int level,
                           Priority priority, NewForm* made) {
  PackCost cost(parts_.totals().compressions);
  bool good = true;
  for (const BlockMask blocks : groups) {
    const char* first = content + std::countr_zero(blocks) * kBlockBytes;
    NewGroup group{blocks, nullptr};
    good = PackGroup(parts_.account, priority, blocks, Gather(blocks, first),
                     level, &group.frame, &cost);
    if (!good) break;
    made->groups.push_back(group);
  }
  parts_.counters.AddPackCost(cost);
  return good;
}

// --- Flushing ---

void Compactor::FlushChunk(uint64_t chunk) {
  ChunkRefs refs(parts_.arena);
  Groups groups;
  parts_.content
      .Look(chunk, 0,
            [&](const ChunkMap& map) {
              groups = PlanFlush(map, parts_.packing);
              refs.Take(map, AllOf(groups));
              return false;
            })
      .Ignore();
  NewForm made;
  bool keep_clean = true;
  if (!groups.empty()) PackDirty(&refs, &groups, &keep_clean, &made);
  CommitFlush(refs, keep_clean, chunk, &made);
}

void Compactor::PackDirty(ChunkRefs* refs, Groups* groups, bool* keep_clean,
                          NewForm* made) {
  char* content = ThreadScratch().chunk;
  ReadCost cost(parts_.totals().decompressions);
  const BlockMask damaged = refs->CopyBlocks(AllOf(*groups), content, &cost);
  parts_.counters.AddReadCost(cost);
  // Blocks in a damaged frame stay there, so that a later read reports the
  // damage.
  for (BlockMask& group : *groups) group &= ~damaged;
  const int level = parts_.packing.write_level();
  if (PackGroups(*groups, content, level, Priority::kNormal, made)) return;
  // At the limit: use the reserve for a moment, and free the dirty pages in
  // return. What does not fit even so stays dirty.
  *keep_clean = false;
  const Groups rest(groups->begin() + made->groups.size(), groups->end());
  PackGroups(rest, content, level, Priority::kReclaim, made);
}

void Compactor::CommitFlush(const ChunkRefs& refs, bool keep_clean,
                            uint64_t chunk, NewForm* made) {
  Replaced replaced;
  const auto commit = [&](ChunkMap& map) {
    // Each group is checked on its own: a concurrent write to one of them does
    // not waste the others.
    for (NewGroup& group : made->groups) {
      if (!refs.SameIn(map, group.blocks)) continue;
      if (group.frame == nullptr) {
        StoreRaw(map, group.blocks);
        continue;
      }
      PutFrame(map, group.blocks, std::exchange(group.frame, nullptr));
      if (map.hot != nullptr) map.hot->dirty &= ~group.blocks;
      if (!keep_clean) Content::DropHot(map, group.blocks, &replaced);
    }
    if (map.hot != nullptr && map.hot->present != 0) parts_.hot.Link(map.hot);
  };
  parts_.content.Edit({.chunk = chunk}, &replaced, commit).Ignore();
  Discard(made, &replaced);
  Finish(chunk, &replaced);
}

// Blocks that do not compress keep their pages, which move from the hot overlay
// to the cold slots. Nothing is copied or allocated.
void Compactor::StoreRaw(ChunkMap& map, BlockMask blocks) {
  if (map.hot == nullptr) return;
  const BlockMask moved = blocks & map.hot->dirty;
  for (const int block : Bits(moved)) {
    map.cold[block] = Slot::OfPage(map.hot->pages[block]);
  }
  map.hot->present &= ~moved;
  map.hot->dirty &= ~moved;
}

void Compactor::DropClean(uint64_t chunk) {
  Replaced replaced;
  const auto drop = [&](ChunkMap& map) {
    if (map.hot == nullptr) return;
    Content::DropHot(map, map.hot->present & ~map.hot->dirty, &replaced);
    if (map.hot->present != 0) parts_.hot.Link(map.hot);
  };
  parts_.content.Edit({.chunk = chunk}, &replaced, drop).Ignore();
  parts_.hot.CountEviction(static_cast<int64_t>(replaced.pages.size()));
  Finish(chunk, &replaced);
}

// --- Rewriting ---

void Compactor::RewriteChunk(uint64_t chunk, RewriteReason reason) {
  const bool cold = reason == RewriteReason::kCold;
  ChunkRefs refs(parts_.arena);
  RewritePlan plan;
  parts_.content
      .Look(chunk, 0,
            [&](const ChunkMap& map) {
              plan = PlanRewrite(map, reason, parts_.packing);
              // The cold slot of a clean hot block is rewritten like any other.
              ChunkMap below = map;
              below.hot = nullptr;
              refs.Take(below, AllOf(plan.groups));
              return false;
            })
      .Ignore();
  if (plan.groups.empty()) return;
  NewForm made;
  const Built built = Build(plan, reason, &refs, &made);
  if (built == Built::kYes &&
      CommitRewrite(refs, AllOf(plan.groups), cold, chunk, &made)) {
    CountRewritten(reason, plan.old_frames);
    return;
  }
  if (cold && built == Built::kNoGain) MarkMerged(chunk);
  if (cold && built == Built::kNoMemory) MarkUnsettled(chunk);
  Replaced replaced;
  Discard(&made, &replaced);
  parts_.content.Free(&replaced);
}

Compactor::Built Compactor::Build(const RewritePlan& plan, RewriteReason reason,
                                  ChunkRefs* refs, NewForm* made) {
  char* content = ThreadScratch().chunk;
  ReadCost cost(parts_.totals().decompressions);
  const BlockMask damaged =
      refs->CopyBlocks(AllOf(plan.groups), content, &cost);
  parts_.counters.AddReadCost(cost);
  // Damaged frames stay, so that a later read reports the damage.
  if (damaged != 0) return Built::kDamaged;
  const int level = reason == RewriteReason::kCold
                        ? parts_.packing.merge_level()
                        : parts_.packing.write_level();
  const Priority priority = PriorityOf(reason);
  if (!PackGroups(plan.groups, content, level, priority, made)) {
    return Built::kNoMemory;
  }
  uint64_t new_stored = 0;
  BlockMask raw = 0;
  for (const NewGroup& group : made->groups) {
    if (group.frame == nullptr) raw |= group.blocks;
    new_stored += group.frame != nullptr
                      ? group.frame->stored
                      : std::popcount(group.blocks) * kBlockBytes;
  }
  const bool gains = reason == RewriteReason::kReadApart
                         ? refs->AllPages(raw)
                         : new_stored < plan.old_stored;
  if (!gains) return Built::kNoGain;
  return MakePages(raw, *refs, content, priority, made) ? Built::kYes
                                                        : Built::kNoMemory;
}

bool Compactor::MakePages(BlockMask blocks, const ChunkRefs& refs,
                          const char* content, Priority priority,
                          NewForm* made) {
  for (const int block : Bits(blocks)) {
    if (refs.slot(block).kind == SlotKind::kPage) continue;
    const PageId page = parts_.account.NewPage(priority);
    if (page == 0) return false;
    std::memcpy(parts_.arena.PageData(page), content + block * kBlockBytes,
                kBlockBytes);
    made->pages[block] = page;
  }
  return true;
}

bool Compactor::CommitRewrite(const ChunkRefs& refs, BlockMask chosen,
                              bool cold, uint64_t chunk, NewForm* made) {
  bool committed = false;
  Replaced replaced;
  const auto commit = [&](ChunkMap& map) {
    ChunkMap now = map;
    now.hot = nullptr;
    if (!refs.SameIn(now, chosen)) return;
    committed = true;
    // Pages first. A group that did not compress has new pages here, or stays
    // in its own.
    for (int block = 0; block < kBlocksPerChunk; ++block) {
      const PageId page = made->pages[block];
      if (page != 0) map.cold[block] = Slot::OfPage(page);
    }
    for (const NewGroup& group : made->groups) {
      if (group.frame == nullptr) continue;
      group.frame->merged.store(cold, std::memory_order_relaxed);
      if (cold) group.frame->heat.store(0, std::memory_order_relaxed);
      PutFrame(map, group.blocks, group.frame);
    }
  };
  parts_.content.Edit({.chunk = chunk}, &replaced, commit).Ignore();
  Finish(chunk, &replaced);
  return committed;
}

void Compactor::Discard(NewForm* made, Replaced* replaced) {
  for (const NewGroup& group : made->groups) {
    if (group.frame != nullptr) replaced->frames.push_back(group.frame);
  }
  for (const PageId page : made->pages) {
    if (page != 0) replaced->pages.push_back(page);
  }
}

void Compactor::Finish(uint64_t chunk, Replaced* replaced) {
  parts_.content.Free(replaced);
  if (replaced->mostly_dead) {
    parts_.AskToRewrite(chunk, RewriteReason::kMostlyDead);
  }
}

void Compactor::CountRewritten(RewriteReason reason, int frames) {
  switch (reason) {
    case RewriteReason::kCold:
      parts_.counters.CountMergedFrames(frames);
      break;
    case RewriteReason::kReadApart:
      parts_.counters.CountSplitFrames(frames);
      break;
    case RewriteReason::kMostlyDead:
    case RewriteReason::kAnyDead:
      parts_.totals().counts.Add(Total::kRewrittenFrames, frames);
      break;
  }
}

// --- Merging ---

void Compactor::MarkMerged(uint64_t chunk) {
  parts_.content
      .Look(chunk, 0,
            [](const ChunkMap& map) {
              map.ForEachFrame([](Frame* frame, BlockMask) {
                frame->merged.store(true, std::memory_order_relaxed);
              });
              return true;
            })
      .Ignore();
}

void Compactor::MarkUnsettled(uint64_t chunk) {
  parts_.content.Look(chunk, 0, [](const ChunkMap&) { return true; }).Ignore();
}

std::optional<uint64_t> Compactor::MergeLeaf(uint64_t chunk, bool all_cold) {
  uint64_t to_merge = 0;  // Bits, as in LeafView::present.
  uint64_t first_chunk = 0;
  const auto visit = [&](const Content::LeafView& leaf) {
    first_chunk = leaf.first_chunk;
    const bool look = leaf.unsettled || all_cold;
    // Reset before looking: young chunks below set it again, and so does every
    // later touch.
    leaf.unsettled = false;
    if (!look) return;
    for (const int i : Bits(leaf.present)) {
      const Age age = AgeOf(ChunkMap::Unpack(leaf.entries[i]), all_cold);
      if (age == Age::kCold) to_merge |= uint64_t{1} << i;
      if (age == Age::kYoung) leaf.unsettled = true;
    }
  };
  const std::optional<uint64_t> next = parts_.content.VisitLeaf(chunk, visit);
  for (const int i : Bits(to_merge)) {
    // Merging leaves free space in slabs. It must be reclaimed before more is
    // merged.
    if (parts_.evacuator.KeepUp(kMergeBytes)) {
      RewriteChunk(first_chunk + i, RewriteReason::kCold);
    } else {
      MarkUnsettled(first_chunk + i);
    }
  }
  return next;
}

// --- Moving ---

std::optional<TenantPart> Compactor::FindPart(uint64_t chunk) const {
  const std::optional<uint64_t> first = parts_.content.FindLeaf(chunk);
  if (!first.has_value()) return std::nullopt;
  return TenantPart{*first, *first + kFanout};
}

void Compactor::MovePart(uint64_t first_chunk) {
  uint64_t to_move = 0;  // Bits, as in LeafView::present.
  uint64_t to_rewrite = 0;
  parts_.content.MoveMaps(first_chunk);
  parts_.content.VisitLeaf(first_chunk, [&](const Content::LeafView& leaf) {
    if (leaf.first_chunk != first_chunk) return;  // The leaf is gone.
    for (const int i : Bits(leaf.present)) {
      const ChunkMap map = ChunkMap::Unpack(leaf.entries[i]);
      if (HasFrameToMove(map)) to_move |= uint64_t{1} << i;
      if (HasMostlyDeadFrame(map)) to_rewrite |= uint64_t{1} << i;
    }
  });
  for (const int i : Bits(to_rewrite)) {
    RewriteChunk(first_chunk + i, RewriteReason::kMostlyDead);
  }
  for (const int i : Bits(to_move)) MoveFrames(first_chunk + i);
}

bool Compactor::HasFrameToMove(const ChunkMap& map) const {
  bool found = false;
  map.ForEachFrame([&](const Frame* frame, BlockMask) {
    found |= parts_.arena.ShouldMove(frame);
  });
  return found;
}

void Compactor::MoveFrames(uint64_t chunk) {
  ChunkRefs refs(parts_.arena);
  if (!parts_.content.Take(chunk, 0, kAllBlocks, &refs).ok()) return;
  Replaced replaced;
  for (int block = 0; block < kBlocksPerChunk; ++block) {
    Frame* old = refs.slot(block).frame();
    // Mostly the blocks of a frame are neighbours, so this skips what was just
    // moved.
    if (block > 0 && refs.slot(block - 1).frame() == old) continue;
    if (old == nullptr || !parts_.arena.ShouldMove(old)) continue;
    Frame* moved = CopyFrame(parts_.account, Priority::kReclaim, *old);
    if (moved == nullptr) break;
    bool used = false;
    // The copy has the same content, so other changes of the chunk do not
    // matter.
    const auto swap = [&](ChunkMap& map) {
      for (Slot& slot : map.cold) {
        if (slot.frame() != old) continue;
        slot = Slot::OfFrame(moved);
        used = true;
      }
    };
    parts_.content.Edit({.chunk = chunk}, &replaced, swap).Ignore();
    if (!used) replaced.frames.push_back(moved);
  }
  // Not Finish: MovePart has already rewritten frames that are mostly dead.
  parts_.content.Free(&replaced);
}

}  // namespace ramvol::engine
