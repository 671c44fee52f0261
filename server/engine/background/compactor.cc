#include "server/engine/background/compactor.h"

#include <bit>
#include <cstring>
#include <memory>
#include <utility>

#include "server/engine/content/hot_node.h"
#include "server/engine/content/packer.h"
#include "server/engine/content/scratch.h"

namespace ramvol::engine {
namespace {

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

bool Compactor::PackGroups(Layer& layer, const Groups& groups,
                           const char* content, int level, Priority priority,
                           NewForm* made) {
  PackCost cost(totals_.compressions);
  bool good = true;
  for (const BlockMask blocks : groups) {
    const char* first = content + std::countr_zero(blocks) * kBlockBytes;
    NewGroup group{blocks, nullptr};
    good = PackGroup(layer.account, priority, blocks, Gather(blocks, first),
                     level, &group.frame, &cost);
    if (!good) break;
    made->groups.push_back(group);
  }
  layer.counts->AddPackCost(cost);
  return good;
}

// --- Flushing ---

void Compactor::Flush(const Home& home) {
  const std::shared_ptr<Layer> layer = LayerAt(home);
  if (layer == nullptr) return;
  ChunkRefs refs(arena_);
  Groups groups;
  LookAt(home, [&](const ChunkMap& map) {
    groups = PlanFlush(map, *layer->packing);
    refs.Take(map, AllOf(groups));
  });
  NewForm made;
  bool keep_clean = true;
  if (!groups.empty()) PackDirty(*layer, &refs, &groups, &keep_clean, &made);
  CommitFlush(home, *layer, refs, keep_clean, &made);
}

void Compactor::PackDirty(Layer& layer, ChunkRefs* refs, Groups* groups,
                          bool* keep_clean, NewForm* made) {
  char* content = ThreadScratch().chunk;
  ReadCost cost(totals_.decompressions);
  const BlockMask damaged = refs->CopyBlocks(AllOf(*groups), content, &cost);
  layer.counts->AddReadCost(cost);
  // Blocks in a damaged frame stay there, so that a later read reports the
  // damage.
  for (BlockMask& group : *groups) group &= ~damaged;
  const int level = layer.packing->write_level();
  if (PackGroups(layer, *groups, content, level, Priority::kNormal, made))
    return;
  // At the limit: use the reserve for a moment, and free the dirty pages in
  // return. What does not fit even so stays dirty.
  *keep_clean = false;
  const Groups rest(groups->begin() + made->groups.size(), groups->end());
  PackGroups(layer, rest, content, level, Priority::kReclaim, made);
}

void Compactor::CommitFlush(const Home& home, Layer& layer,
                            const ChunkRefs& refs, bool keep_clean,
                            NewForm* made) {
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
      if (!keep_clean) DropHot(map, group.blocks, &replaced);
    }
  };
  KeepAt(home, hot_, layer, &replaced, commit);
  LinkAgain(home);
  Discard(layer, made);
  Finish(home, &replaced);
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

void Compactor::DropClean(const Home& home) {
  const std::shared_ptr<Layer> layer = LayerAt(home);
  if (layer == nullptr) return;
  Replaced replaced;
  const auto drop = [&](ChunkMap& map) {
    if (map.hot == nullptr) return;
    DropHot(map, map.hot->present & ~map.hot->dirty, &replaced);
  };
  KeepAt(home, hot_, *layer, &replaced, drop);
  LinkAgain(home);
  hot_.CountEviction(static_cast<int64_t>(replaced.pages.size()));
  Finish(home, &replaced);
}

// Puts the hot node of a chunk, which was taken out of its queue, into one.
void Compactor::LinkAgain(const Home& home) {
  LookAt(home, [&](const ChunkMap& map) {
    if (map.node != nullptr) hot_.Link(map.node);
  });
}

// --- Rewriting ---

void Compactor::Rewrite(const Home& home, RewriteReason reason) {
  const std::shared_ptr<Layer> layer = LayerAt(home);
  if (layer == nullptr) return;
  const bool cold = reason == RewriteReason::kCold;
  ChunkRefs refs(arena_);
  RewritePlan plan;
  LookAt(home, [&](const ChunkMap& map) {
    plan = PlanRewrite(map, reason, *layer->packing);
    // The cold slot of a clean hot block is rewritten like any other.
    ChunkMap below = map;
    below.hot = nullptr;
    refs.Take(below, AllOf(plan.groups));
  });
  if (plan.groups.empty()) return;
  NewForm made;
  const Built built = Build(*layer, plan, reason, &refs, &made);
  if (built == Built::kYes &&
      CommitRewrite(home, *layer, refs, AllOf(plan.groups), cold, &made)) {
    CountRewritten(*layer, reason, plan.old_frames);
    return;
  }
  if (cold && built == Built::kNoGain) MarkMerged(home);
  if (cold && built == Built::kNoMemory) Unsettle(home);
  Discard(*layer, &made);
}

Compactor::Built Compactor::Build(Layer& layer, const RewritePlan& plan,
                                  RewriteReason reason, ChunkRefs* refs,
                                  NewForm* made) {
  char* content = ThreadScratch().chunk;
  ReadCost cost(totals_.decompressions);
  const BlockMask damaged =
      refs->CopyBlocks(AllOf(plan.groups), content, &cost);
  layer.counts->AddReadCost(cost);
  // Damaged frames stay, so that a later read reports the damage.
  if (damaged != 0) return Built::kDamaged;
  const int level = reason == RewriteReason::kCold
                        ? layer.packing->merge_level()
                        : layer.packing->write_level();
  const Priority priority = PriorityOf(reason);
  if (!PackGroups(layer, plan.groups, content, level, priority, made)) {
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
  return MakePages(layer, raw, *refs, content, priority, made)
             ? Built::kYes
             : Built::kNoMemory;
}

bool Compactor::MakePages(Layer& layer, BlockMask blocks, const ChunkRefs& refs,
                          const char* content, Priority priority,
                          NewForm* made) {
  for (const int block : Bits(blocks)) {
    if (refs.slot(block).kind == SlotKind::kPage) continue;
    const PageId page = layer.account.NewPage(priority);
    if (page == 0) return false;
    std::memcpy(arena_.PageData(page), content + block * kBlockBytes,
                kBlockBytes);
    made->pages[block] = page;
  }
  return true;
}

bool Compactor::CommitRewrite(const Home& home, Layer& layer,
                              const ChunkRefs& refs, BlockMask chosen,
                              bool cold, NewForm* made) {
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
  KeepAt(home, hot_, layer, &replaced, commit);
  Finish(home, &replaced);
  return committed;
}

void Compactor::Discard(Layer& layer, NewForm* made) {
  for (const NewGroup& group : made->groups) {
    if (group.frame != nullptr) ReleaseFrame(layer.account, group.frame);
  }
  for (const PageId page : made->pages) {
    if (page != 0) layer.account.FreePage(page);
  }
}

void Compactor::Finish(const Home& home, Replaced* replaced) {
  Free(replaced);
  if (replaced->mostly_dead) {
    work_.Push(
        {Home(home.pointer(), home.chunk()), RewriteReason::kMostlyDead});
  }
}

void Compactor::CountRewritten(Layer& layer, RewriteReason reason, int frames) {
  switch (reason) {
    case RewriteReason::kCold:
      layer.counts->CountMergedFrames(frames);
      break;
    case RewriteReason::kReadApart:
      layer.counts->CountSplitFrames(frames);
      break;
    case RewriteReason::kMostlyDead:
    case RewriteReason::kAnyDead:
      totals_.counts.Add(Total::kRewrittenFrames, frames);
      break;
  }
}

void Compactor::MarkMerged(const Home& home) {
  LookAt(home, [](const ChunkMap& map) {
    map.ForEachFrame([](Frame* frame, BlockMask) {
      frame->merged.store(true, std::memory_order_relaxed);
    });
  });
}

// --- Moving ---

void Compactor::MoveFrames(const Home& home) {
  const std::shared_ptr<Layer> layer = LayerAt(home);
  ChunkRefs refs(arena_);
  absl::InlinedVector<Frame*, 4> to_move;
  LookAt(home, [&](const ChunkMap& map) {
    map.ForEachFrame([&](Frame* frame, BlockMask) {
      const bool moves = arena_.ShouldMove(frame) && !frame->outside() &&
                         !frame->HeldElsewhere();
      if (moves) to_move.push_back(frame);
    });
    ChunkMap below = map;
    below.hot = nullptr;
    refs.Take(below, kAllBlocks);
  });
  if (layer == nullptr) return;
  for (Frame* const old : to_move) {
    Frame* moved = CopyFrame(layer->account, Priority::kReclaim, *old);
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
    Replaced replaced;
    KeepAt(home, hot_, *layer, &replaced, swap);
    if (!used) ReleaseFrame(layer->account, moved);
    // Not Finish: whoever moves frames has already had those rewritten that are
    // mostly dead.
    Free(&replaced);
  }
}

}  // namespace ramvol::engine
