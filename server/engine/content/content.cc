#include "server/engine/content/content.h"

#include <algorithm>
#include <bit>
#include <new>

#include "server/engine/types/options.h"

namespace ramvol::engine {
namespace {

// Leaves that Clear empties before it prunes the index. Pruning takes the
// index's exclusive lock, so it is done for many at once.
constexpr int kMaxEmptied = 256;

// Adds the pages and frames of `before` that `after` no longer has. Only the
// blocks `affected` can have changed.
void Collect(const ChunkMap& before, const ChunkMap& after, BlockMask affected,
             Replaced* replaced) {
  for (BlockMask left = affected; left != 0;) {
    const int block = std::countr_zero(left);
    left &= left - 1;
    const Slot& slot = before.cold[block];
    if (slot.kind == SlotKind::kPage && slot != after.cold[block]) {
      replaced->pages.push_back(slot.page());
    }
    Frame* frame = slot.frame();
    if (frame == nullptr) continue;
    left &= ~before.BlocksOf(frame);
    const BlockMask live = after.BlocksOf(frame);
    if (live == 0) {
      replaced->frames.push_back(frame);
    } else if (frame->MostlyDead(live)) {
      replaced->mostly_dead = true;
    }
  }
}

}  // namespace

Content::Content(ChunkOwner& owner, Account& account, HotCache& hot,
                 uint64_t size_bytes)
    : owner_(owner),
      account_(account),
      hot_(hot),
      size_bytes_(size_bytes),
      index_(account, (size_bytes - 1) / kChunkBytes + 1) {}

Content::~Content() { Clear(0, kMaxVolumeBytes / kChunkBytes); }

void Content::SetSizeLocked(uint64_t size_bytes) {
  index_.Grow((size_bytes - 1) / kChunkBytes + 1);
  size_bytes_.store(size_bytes, std::memory_order_release);
}

std::optional<uint64_t> Content::FindLeaf(uint64_t chunk) const {
  StripedReaderLock index_lock(&index_.lock());
  if (!CheckLocked(0).ok()) return std::nullopt;
  const std::optional<Index::Position> position = index_.FindFrom(chunk);
  if (!position.has_value()) return std::nullopt;
  return position->first_chunk;
}

Refusal Content::Edit(const Target& target, Replaced* replaced,
                      absl::FunctionRef<void(ChunkMap&)> edit) {
  bool emptied;
  {
    StripedReaderLock index_lock(&index_.lock());
    const Refusal refusal = CheckLocked(target.end);
    if (!refusal.ok()) return refusal;
    Leaf* leaf = target.create
                     ? index_.FindOrCreate(target.chunk, Priority::kGuaranteed)
                     : index_.Find(target.chunk);
    if (leaf == nullptr) {
      // A leaf of holes would only be made to be pruned again.
      ChunkMap holes;
      edit(holes);
      return Refusal();
    }
    MutexLock lock(&leaf->mu);
    // This also prunes a leaf that was just made, if its edit changed nothing.
    emptied = EditLocked(leaf, target.chunk, replaced, edit);
  }
  if (emptied) Prune(target.chunk, target.chunk);
  return Refusal();
}

bool Content::EditLocked(Leaf* leaf, uint64_t chunk, Replaced* replaced,
                         absl::FunctionRef<void(ChunkMap&)> edit) {
  ChunkEntry& entry = leaf->entries[chunk % kFanout];
  const ChunkMap before = ChunkMap::Unpack(entry);
  // Both maps share the hot node, so its state must be saved before the edit.
  const BlockMask was_hot = before.hot == nullptr ? 0 : before.hot->present;
  const BlockMask was_dirty = before.hot == nullptr ? 0 : before.hot->dirty;
  ChunkMap map = before;
  edit(map);
  SettleHot(map, was_hot, was_dirty);
  leaf->unsettled = true;
  const BlockMask affected = AffectedBlocks(before, map);
  // An edit of the hot overlay alone does not change the entry.
  if (affected == 0 && map.hot == before.hot) return leaf->present == 0;
  AddCensus(before.TakeCensus(affected), map.TakeCensus(affected));
  Collect(before, map, affected, replaced);
  Pack(map, account_, &entry);
  const uint64_t bit = uint64_t{1} << (chunk % kFanout);
  leaf->present = entry != 0 ? leaf->present | bit : leaf->present & ~bit;
  return leaf->present == 0;
}

void Content::SettleHot(ChunkMap& map, BlockMask was_hot, BlockMask was_dirty) {
  const BlockMask is_hot = map.hot == nullptr ? 0 : map.hot->present;
  const BlockMask is_dirty = map.hot == nullptr ? 0 : map.hot->dirty;
  const int64_t hot = std::popcount(is_hot) - std::popcount(was_hot);
  const int64_t dirty = std::popcount(is_dirty) - std::popcount(was_dirty);
  if (hot != 0) gauges_.Add(Gauge::kHotBlocks, hot);
  if (dirty != 0) gauges_.Add(Gauge::kDirtyBlocks, dirty);
  hot_.AddBlocks(hot, dirty);
  if (map.hot == nullptr) return;
  // A node that had no hot blocks before was made by this edit.
  if (is_hot == 0) {
    hot_.Unlink(map.hot);
    hot_nodes_.Remove(map.hot);
    map.hot->~HotNode();
    account_.Delete(map.hot, sizeof(HotNode));
    map.hot = nullptr;
  } else if (was_hot == 0) {
    hot_.Link(map.hot);
  } else if (was_dirty == 0 && is_dirty != 0) {
    hot_.MarkDirty(map.hot);
  }
}

void Content::AddCensus(const Census& before, const Census& after) {
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i] == after[i]) continue;
    gauges_.Add(static_cast<Gauge>(i), after[i] - before[i]);
  }
}

void Content::SetHot(ChunkMap& map, uint64_t chunk, int block, PageId page,
                     bool dirty) {
  if (map.hot == nullptr) {
    // Guaranteed: the caller admitted it when it allocated the page.
    map.hot =
        new (account_.New(sizeof(HotNode), Priority::kGuaranteed)) HotNode;
    map.hot->owner = &owner_;
    map.hot->chunk = chunk;
    hot_nodes_.Add(map.hot);
  }
  map.hot->pages[block] = page;
  map.hot->present |= BlockBit(block);
  if (dirty) map.hot->dirty |= BlockBit(block);
}

void Content::DropHot(ChunkMap& map, BlockMask blocks, Replaced* replaced) {
  if (map.hot == nullptr) return;
  for (const int block : Bits(blocks & map.hot->present)) {
    replaced->pages.push_back(map.hot->pages[block]);
  }
  map.hot->present &= ~blocks;
  map.hot->dirty &= ~blocks;
}

void Content::Free(Replaced* replaced) {
  for (Frame* frame : replaced->frames) ReleaseFrame(account_, frame);
  for (PageId page : replaced->pages) account_.FreePage(page);
  replaced->frames.clear();
  replaced->pages.clear();
}

void Content::Prune(uint64_t first, uint64_t last) {
  StripedWriterLock index_lock(&index_.lock());
  index_.Prune(first, last);
}

void Content::Clear(uint64_t first, uint64_t last) {
  Replaced replaced;
  uint64_t prune_from = first;
  int emptied = 0;
  for (uint64_t next = first; next <= last;) {
    {
      StripedReaderLock index_lock(&index_.lock());
      const std::optional<Index::Position> position = index_.FindFrom(next);
      if (!position.has_value() || position->first_chunk > last) break;
      Leaf* leaf = position->leaf;
      const uint64_t from = std::max(next, position->first_chunk);
      next = position->first_chunk + kFanout;
      // The lock is taken for each chunk, so that requests can get in between.
      for (uint64_t chunk = from; chunk < next && chunk <= last; ++chunk) {
        MutexLock lock(&leaf->mu);
        if (leaf->entries[chunk % kFanout] == 0) continue;
        const bool empty =
            EditLocked(leaf, chunk, &replaced, [&](ChunkMap& map) {
              map.cold.fill({});
              DropHot(map, kAllBlocks, &replaced);
            });
        if (empty) ++emptied;
      }
    }
    Free(&replaced);
    if (emptied < kMaxEmptied) continue;
    Prune(prune_from, std::min(next - 1, last));
    prune_from = next;
    emptied = 0;
  }
  if (emptied > 0) Prune(prune_from, last);
}

void Content::MoveMaps(uint64_t first_chunk) {
  StripedReaderLock index_lock(&index_.lock());
  if (!CheckLocked(0).ok()) return;
  Leaf* leaf = index_.Find(first_chunk);
  if (leaf == nullptr) return;
  MutexLock lock(&leaf->mu);
  for (const int i : Bits(leaf->present)) MoveMap(&leaf->entries[i], account_);
}

}  // namespace ramvol::engine
