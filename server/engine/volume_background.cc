// What background threads do to a volume: compress what is dirty, drop what is
// clean, merge what is cold, split what is read apart.
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include "server/engine/content/scratch.h"
#include "server/engine/volume_core.h"

namespace ramvol::engine {
namespace {

// Most that a chunk takes in its new form: its pages, and those of slabs that
// the tails of its frames touch first.
constexpr uint64_t kMergeBytes = kChunkBytes + (uint64_t{64} << 10);

}  // namespace

// A group of blocks in its new form: one frame, or a raw page for each.
struct VolumeCore::NewGroup {
  BlockMask blocks = 0;
  Frame* frame = nullptr;
};

bool VolumeCore::PackGroups(const Groups& groups, const char* content,
                            int level, Priority priority,
                            absl::InlinedVector<NewGroup, 4>* made) {
  PackCost cost(shared_.totals.compressions);
  bool good = true;
  for (BlockMask blocks : groups) {
    const char* first = content + std::countr_zero(blocks) * kBlockBytes;
    NewGroup group{blocks, nullptr};
    good = PackGroup(account_, priority, blocks, Gather(blocks, first), level,
                     &group.frame, &cost);
    if (!good) break;
    made->push_back(group);
  }
  AddPackCost(cost);
  return good;
}

bool VolumeCore::PlanFlush(uint64_t chunk, ChunkRefs* refs, Groups* groups) {
  StripedReaderLock index_lock(&index_.lock());
  if (!CheckLocked(0).ok()) return false;
  Leaf* leaf = index_.Find(chunk);
  if (leaf == nullptr) return false;
  MutexLock lock(&leaf->mu);
  const ChunkMap map = ChunkMap::Unpack(leaf->entries[chunk % kFanout]);
  if (map.hot == nullptr || map.hot->dirty == 0) return false;
  *groups = Partition(map.hot->dirty, min_span(), split_span());
  BlockMask all = 0;
  for (BlockMask& group : *groups) {
    // The smallest frame takes in what else its run holds; when that is one
    // block, nothing needs to be decompressed.
    const int first = std::countr_zero(group) / min_span() * min_span();
    if (std::bit_width(group) <= first + min_span()) {
      group = map.PresentBlocks() & RunMask(first, min_span());
    }
    all |= group;
  }
  refs->Take(map, all);
  return true;
}

void VolumeCore::FlushChunk(uint64_t chunk) {
  Dropped dropped;
  ChunkRefs refs(shared_.arena);
  Groups groups;
  absl::InlinedVector<NewGroup, 4> made;
  bool keep_clean = true;
  if (PlanFlush(chunk, &refs, &groups)) {
    char* content = ThreadScratch().chunk;
    ReadCost cost(shared_.totals.decompressions);
    BlockMask all = 0;
    for (BlockMask group : groups) all |= group;
    const BlockMask damaged = refs.CopyBlocks(all, content, &cost);
    // A neighbour in a damaged frame stays where it is.
    for (BlockMask& group : groups) group &= ~damaged;
    AddReadCost(cost);
    const int level = write_level_.load(std::memory_order_relaxed);
    if (!PackGroups(groups, content, level, Priority::kNormal, &made)) {
      // At the limit: use the reserve for a moment, and give the pages back.
      // What does not fit even so stays dirty.
      keep_clean = false;
      const Groups rest(groups.begin() + made.size(), groups.end());
      PackGroups(rest, content, level, Priority::kReclaim, &made);
    }
  }
  BlockMask used = 0;  // Groups, by number, that were committed.
  EditIfThere(chunk, 0, &dropped, [&](ChunkMap& map) {
    for (size_t i = 0; i < made.size(); ++i) {
      const NewGroup& group = made[i];
      if (!refs.SameIn(map, group.blocks)) continue;
      if (group.frame == nullptr) {
        StoreRaw(map, group.blocks);
        continue;
      }
      used |= BlockMask{1} << i;
      for (const int block : Bits(group.blocks)) {
        map.cold[block] = Slot::OfFrame(group.frame);
      }
      if (map.hot != nullptr) map.hot->dirty &= ~group.blocks;
      if (!keep_clean) DropHot(map, group.blocks, &dropped);
    }
    if (map.hot != nullptr && map.hot->present != 0) shared_.hot.Link(map.hot);
  });
  for (size_t i = 0; i < made.size(); ++i) {
    if ((used >> i & 1) == 0 && made[i].frame != nullptr) {
      dropped.frames.push_back(made[i].frame);
    }
  }
  Free(chunk, &dropped);
}

// Dirty blocks that do not compress stay in the pages that they are in; those
// pages leave the hot cache.
void VolumeCore::StoreRaw(ChunkMap& map, BlockMask blocks) {
  if (map.hot == nullptr) return;
  const BlockMask moved = blocks & map.hot->dirty;
  for (const int block : Bits(moved)) {
    map.cold[block] = Slot::OfPage(map.hot->pages[block]);
  }
  map.hot->present &= ~moved;
  map.hot->dirty &= ~moved;
}

void VolumeCore::DropClean(uint64_t chunk) {
  Dropped dropped;
  EditIfThere(chunk, 0, &dropped, [&](ChunkMap& map) {
    if (map.hot == nullptr) return;
    DropHot(map, map.hot->present & ~map.hot->dirty, &dropped);
    if (map.hot->present != 0) shared_.hot.Link(map.hot);
  });
  shared_.hot.CountEviction(static_cast<int64_t>(dropped.pages.size()));
  Free(chunk, &dropped);
}

bool VolumeCore::PlanRewrite(uint64_t chunk, RewriteReason reason,
                             ChunkRefs* refs, Groups* groups,
                             uint64_t* old_stored, int* old_frames) {
  StripedReaderLock index_lock(&index_.lock());
  if (!CheckLocked(0).ok()) return false;
  Leaf* leaf = index_.Find(chunk);
  if (leaf == nullptr) return false;
  MutexLock lock(&leaf->mu);
  const ChunkMap map = ChunkMap::Unpack(leaf->entries[chunk % kFanout]);
  BlockMask chosen = 0;
  BlockMask seen = 0;
  for (int block = 0; block < kBlocksPerChunk; ++block) {
    const Slot& slot = map.cold[block];
    const BlockMask bit = BlockBit(block);
    if (slot.kind == SlotKind::kPage && reason == RewriteReason::kCold) {
      chosen |= bit;
      *old_stored += kBlockBytes;
    }
    const Frame* frame = slot.frame();
    if (frame == nullptr || (seen & bit) != 0) continue;
    const BlockMask live = map.BlocksOf(frame);
    seen |= live;
    const bool dead = 2 * std::popcount(live) <= std::popcount(frame->blocks);
    const bool apart = 1 << frame->SpanLog2() > split_span() &&
                       (frame->heat.load(std::memory_order_relaxed) & 0x7f) > 1;
    const bool any_dead = live != frame->blocks;
    if (reason == RewriteReason::kMostlyDead  ? !dead
        : reason == RewriteReason::kReadApart ? !apart
        : reason == RewriteReason::kAnyDead   ? !any_dead
                                              : false) {
      continue;
    }
    chosen |= live;
    *old_stored += frame->stored;
    ++*old_frames;
  }
  if (*old_frames == 0) return false;
  *groups =
      Partition(chosen, min_span(),
                reason == RewriteReason::kCold ? max_span() : split_span());
  ChunkMap cold = map;
  cold.hot = nullptr;  // A clean hot block's cold slot counts.
  refs->Take(cold, chosen);
  return true;
}

// Puts those of `blocks` that are in frames into pages of their own; false when
// memory is lacking.
bool VolumeCore::MakePages(BlockMask blocks, const ChunkRefs& refs,
                           const char* content, Priority priority,
                           std::array<PageId, kBlocksPerChunk>* pages) {
  for (const int block : Bits(blocks)) {
    if (refs.slot(block).kind == SlotKind::kPage) continue;
    const PageId page = account_.NewPage(priority);
    if (page == 0) return false;
    std::memcpy(shared_.arena.PageData(page), content + block * kBlockBytes,
                kBlockBytes);
    (*pages)[block] = page;
  }
  return true;
}

// What so little of the limit may be used for.
Priority VolumeCore::PriorityOf(RewriteReason reason) {
  switch (reason) {
    case RewriteReason::kReadApart:
      return Priority::kNormal;  // Takes more than it gives back.
    case RewriteReason::kCold:
      return Priority::kMerge;
    case RewriteReason::kMostlyDead:
    case RewriteReason::kAnyDead:
      break;
  }
  return Priority::kReclaim;
}

void VolumeCore::RewriteChunk(uint64_t chunk, RewriteReason reason) {
  ChunkRefs refs(shared_.arena);
  Groups groups;
  uint64_t old_stored = 0;
  int old_frames = 0;
  if (!PlanRewrite(chunk, reason, &refs, &groups, &old_stored, &old_frames)) {
    return;
  }
  char* content = ThreadScratch().chunk;
  ReadCost cost(shared_.totals.decompressions);
  BlockMask chosen = 0;
  for (BlockMask group : groups) chosen |= group;
  bool good = refs.CopyBlocks(chosen, content, &cost) == 0;
  AddReadCost(cost);
  if (!good) return;  // Left for its reader to find.
  const bool cold = reason == RewriteReason::kCold;
  const Priority priority = PriorityOf(reason);
  absl::InlinedVector<NewGroup, 4> made;
  good = PackGroups(groups, content,
                    cold ? merge_level_.load(std::memory_order_relaxed)
                         : write_level_.load(std::memory_order_relaxed),
                    priority, &made);
  uint64_t new_stored = 0;
  BlockMask raw = 0;
  for (const NewGroup& group : made) {
    if (group.frame == nullptr) raw |= group.blocks;
    new_stored += group.frame != nullptr
                      ? group.frame->stored
                      : std::popcount(group.blocks) * kBlockBytes;
  }
  const bool gains = reason == RewriteReason::kReadApart
                         ? refs.AllPages(raw)
                         : new_stored < old_stored;
  std::array<PageId, kBlocksPerChunk> pages = {};
  if (good && gains) {
    good = MakePages(raw, refs, content, priority, &pages);
  }
  bool committed = false;
  Dropped dropped;
  if (good && gains) {
    EditIfThere(chunk, 0, &dropped, [&](ChunkMap& map) {
      ChunkMap now = map;
      now.hot = nullptr;
      if (!refs.SameIn(now, chosen)) return;
      committed = true;
      for (int block = 0; block < kBlocksPerChunk; ++block) {
        if (pages[block] != 0) map.cold[block] = Slot::OfPage(pages[block]);
      }
      for (const NewGroup& group : made) {
        if (group.frame == nullptr) continue;
        group.frame->merged.store(cold, std::memory_order_relaxed);
        if (cold) group.frame->heat.store(0, std::memory_order_relaxed);
        for (const int block : Bits(group.blocks)) {
          map.cold[block] = Slot::OfFrame(group.frame);
        }
      }
    });
  }
  if (!committed) {
    for (const NewGroup& group : made) {
      if (group.frame != nullptr) dropped.frames.push_back(group.frame);
    }
    for (PageId page : pages) {
      if (page != 0) dropped.pages.push_back(page);
    }
    if (good && cold && !gains) MarkMerged(chunk);
    if (!good && cold) MarkUnsettled(chunk);
  } else {
    CountRewritten(reason, old_frames);
  }
  Free(chunk, &dropped);
}

void VolumeCore::CountRewritten(RewriteReason reason, int frames) {
  switch (reason) {
    case RewriteReason::kCold:
      counters_.Add(IoCounter::kMergedFrames, frames);
      shared_.totals.counts.Add(Total::kMergedFrames, frames);
      break;
    case RewriteReason::kReadApart:
      counters_.Add(IoCounter::kSplitFrames, frames);
      shared_.totals.counts.Add(Total::kSplitFrames, frames);
      break;
    case RewriteReason::kMostlyDead:
    case RewriteReason::kAnyDead:
      shared_.totals.counts.Add(Total::kRewrittenFrames, frames);
      break;
  }
}

void VolumeCore::MarkMerged(uint64_t chunk) {
  Dropped dropped;
  EditIfThere(chunk, 0, &dropped, [](ChunkMap& map) {
    for (const Slot& slot : map.cold) {
      if (Frame* frame = slot.frame()) {
        frame->merged.store(true, std::memory_order_relaxed);
      }
    }
  });
}

void VolumeCore::MarkUnsettled(uint64_t chunk) {
  Dropped dropped;
  EditIfThere(chunk, 0, &dropped, [](ChunkMap&) {});
}

std::optional<TenantPart> VolumeCore::FindPart(uint64_t chunk) {
  StripedReaderLock index_lock(&index_.lock());
  if (!CheckLocked(0).ok()) return std::nullopt;
  const std::optional<Index::Position> position = index_.FindFrom(chunk);
  if (!position.has_value()) return std::nullopt;
  return TenantPart{position->first_chunk, position->first_chunk + kFanout};
}

void VolumeCore::MovePart(uint64_t first_chunk) {
  uint64_t to_move = 0;  // Bits, as in Leaf::present.
  uint64_t to_rewrite = 0;
  {
    StripedReaderLock index_lock(&index_.lock());
    if (!CheckLocked(0).ok()) return;
    Leaf* leaf = index_.Find(first_chunk);
    if (leaf == nullptr) return;
    MutexLock lock(&leaf->mu);
    for (const int i : Bits(leaf->present)) {
      const uint64_t bit = uint64_t{1} << i;
      MoveMap(&leaf->entries[i], account_);
      const ChunkMap map = ChunkMap::Unpack(leaf->entries[i]);
      if (HasFrameToMove(map)) to_move |= bit;
      if (HasMostlyDeadFrame(map)) to_rewrite |= bit;
    }
  }
  for (const int i : Bits(to_rewrite)) {
    RewriteChunk(first_chunk + i, RewriteReason::kMostlyDead);
  }
  for (const int i : Bits(to_move)) MoveFrames(first_chunk + i);
}

void VolumeCore::MoveFrames(uint64_t chunk) {
  Dropped dropped;
  ChunkRefs refs(shared_.arena);
  if (!TakeRefs(chunk, kAllBlocks, 0, false, &refs).ok()) return;
  for (int block = 0; block < kBlocksPerChunk; ++block) {
    Frame* old = refs.slot(block).frame();
    // A frame's blocks are mostly neighbours.
    if (block > 0 && refs.slot(block - 1).frame() == old) continue;
    if (old == nullptr || !shared_.arena.ShouldMove(old)) continue;
    Frame* moved = CopyFrame(account_, Priority::kReclaim, *old);
    if (moved == nullptr) break;
    bool used = false;
    EditIfThere(chunk, 0, &dropped, [&](ChunkMap& map) {
      for (Slot& slot : map.cold) {
        if (slot.frame() != old) continue;
        slot = Slot::OfFrame(moved);
        used = true;
      }
    });
    if (!used) dropped.frames.push_back(moved);
  }
  dropped.mostly_dead = false;
  Free(chunk, &dropped);
}

std::optional<uint64_t> VolumeCore::VisitLeaf(uint64_t chunk, bool all_cold) {
  uint64_t to_merge = 0;  // Bits, as in Leaf::present.
  uint64_t first_chunk;
  {
    StripedReaderLock index_lock(&index_.lock());
    if (!CheckLocked(0).ok()) return std::nullopt;
    const std::optional<Index::Position> position = index_.FindFrom(chunk);
    if (!position.has_value()) return std::nullopt;
    first_chunk = position->first_chunk;
    Leaf* leaf = position->leaf;
    MutexLock lock(&leaf->mu);
    const bool look = leaf->unsettled || all_cold;
    leaf->unsettled = false;
    for (const int i : Bits(leaf->present)) {
      const uint64_t bit = uint64_t{1} << i;
      const ChunkMap map = ChunkMap::Unpack(leaf->entries[i]);
      const Age age = look ? AgeOf(map, all_cold) : Age::kSettled;
      if (age == Age::kCold) to_merge |= bit;
      if (age == Age::kYoung) leaf->unsettled = true;
    }
  }
  for (const int i : Bits(to_merge)) {
    const uint64_t cold_chunk = first_chunk + i;
    // What earlier merging left in slabs goes first.
    if (shared_.evacuator.KeepUp(kMergeBytes)) {
      RewriteChunk(cold_chunk, RewriteReason::kCold);
    } else {
      MarkUnsettled(cold_chunk);
    }
  }
  return first_chunk + kFanout;
}

VolumeCore::Age VolumeCore::AgeOf(const ChunkMap& map, bool all_cold) const {
  // What is still to be compressed changes the chunk soon.
  bool young = map.hot != nullptr && map.hot->dirty != 0;
  bool mergeable = false;
  BlockMask seen = 0;
  for (int block = 0; block < kBlocksPerChunk; ++block) {
    Frame* frame = map.cold[block].frame();
    if (frame == nullptr || Holds(seen, block)) continue;
    const BlockMask live = map.BlocksOf(frame);
    seen |= live;
    // A read that touches the frame just now may be overlooked.
    const uint8_t heat = frame->heat.load(std::memory_order_relaxed);
    if (heat != 0) frame->heat.store(0, std::memory_order_relaxed);
    young |= (heat & Frame::kYoung) != 0 && !all_cold;
    mergeable |=
        !frame->merged.load(std::memory_order_relaxed) || live != frame->blocks;
  }
  if (young) return Age::kYoung;
  return mergeable ? Age::kCold : Age::kSettled;
}

bool VolumeCore::CorruptForTest(uint64_t offset) {
  const int block = static_cast<int>(offset % kChunkBytes / kBlockBytes);
  ChunkRefs refs(shared_.arena);
  if (!TakeRefs(offset / kChunkBytes, BlockBit(block), 0, false, &refs).ok()) {
    return false;
  }
  Frame* frame = refs.slot(block).frame();
  if (frame == nullptr) return false;
  char* byte = frame->page_count() > 0
                   ? shared_.arena.PageData(frame->pages()[0]) + 100
                   : const_cast<char*>(frame->tail()) + frame->stored / 2;
  *byte ^= 0x10;
  return true;
}

bool VolumeCore::HasMostlyDeadFrame(const ChunkMap& map) const {
  const Frame* previous = nullptr;  // A frame's blocks are mostly neighbours.
  for (const Slot& slot : map.cold) {
    const Frame* frame = slot.frame();
    if (frame == nullptr || frame == previous) continue;
    const int live = std::popcount(map.BlocksOf(frame));
    if (2 * live <= std::popcount(frame->blocks)) return true;
    previous = frame;
  }
  return false;
}

bool VolumeCore::HasFrameToMove(const ChunkMap& map) const {
  const Frame* previous = nullptr;  // A frame's blocks are mostly neighbours.
  for (const Slot& slot : map.cold) {
    const Frame* frame = slot.frame();
    if (frame == nullptr || frame == previous) continue;
    if (shared_.arena.ShouldMove(frame)) return true;
    previous = frame;
  }
  return false;
}

}  // namespace ramvol::engine
