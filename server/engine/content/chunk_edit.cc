#include "server/engine/content/chunk_edit.h"

#include <algorithm>
#include <array>
#include <bit>
#include <new>
#include <optional>
#include <utility>

#include "base/check.h"
#include "server/engine/content/hot_node.h"

namespace ramvol::engine {
namespace {

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

// The pages of a chunk, by block: in the cold slots, and in the hot overlay.
struct Pages {
  std::array<PageId, kBlocksPerChunk> cold = {};
  std::array<PageId, kBlocksPerChunk> hot = {};

  explicit Pages(const ChunkMap& map) {
    for (int block = 0; block < kBlocksPerChunk; ++block) {
      const Slot& slot = map.cold[block];
      if (slot.kind == SlotKind::kPage) cold[block] = slot.page();
    }
    if (map.hot == nullptr) return;
    for (const int block : Bits(map.hot->present)) {
      hot[block] = map.hot->pages[block];
    }
  }
};

// What the frames and pages that `after` has and `before` had not are charged.
uint64_t PutBytes(const Arena& arena, const ChunkMap& before,
                  const Pages& pages_before, const ChunkMap& after) {
  uint64_t bytes = 0;
  after.ForEachFrame([&](const Frame* frame, BlockMask) {
    const bool put = before.BlocksOf(frame) == 0 &&
                     !frame->common.load(std::memory_order_relaxed);
    if (put) bytes += frame->ChargedBytes();
  });
  const Pages pages(after);
  for (int block = 0; block < kBlocksPerChunk; ++block) {
    for (const PageId page : {pages.cold[block], pages.hot[block]}) {
      const bool put = page != 0 && page != pages_before.cold[block] &&
                       page != pages_before.hot[block];
      if (put && !arena.IsCommon(page)) bytes += kPageBytes;
    }
  }
  return bytes;
}

int64_t HotNodeMemory() { return Arena::AllocatedBytes(sizeof(HotNode)); }

// Adds to the statistics of a leaf.
void AddTo(SmallCensus* census, Gauge gauge, int64_t amount) {
  if (census != nullptr) (*census)[gauge] += static_cast<int32_t>(amount);
}

// Links or frees the hot node that an edit made, changed or emptied. `was_hot`
// and `was_dirty` are its blocks before the edit.
void SettleHot(const Place& place, ChunkMap& map, BlockMask was_hot,
               BlockMask was_dirty) {
  const BlockMask is_hot = map.hot == nullptr ? 0 : map.hot->present;
  const BlockMask is_dirty = map.hot == nullptr ? 0 : map.hot->dirty;
  const int64_t hot = std::popcount(is_hot) - std::popcount(was_hot);
  const int64_t dirty = std::popcount(is_dirty) - std::popcount(was_dirty);
  AddTo(place.census, Gauge::kHotBlocks, hot);
  AddTo(place.census, Gauge::kDirtyBlocks, dirty);
  place.hot.AddBlocks(hot, dirty);
  if (map.hot == nullptr) return;
  // A node that had no hot blocks before was made by this edit.
  if (is_hot == 0) {
    if (was_hot != 0) {
      AddTo(place.census, Gauge::kMapMemory, -HotNodeMemory());
    }
    place.hot.Unlink(map.hot);
    place.layer->hot_nodes.Remove(map.hot);
    map.hot->~HotNode();
    place.layer->account.Delete(map.hot, sizeof(HotNode));
    map.hot = nullptr;
  } else if (was_hot == 0) {
    AddTo(place.census, Gauge::kMapMemory, HotNodeMemory());
    place.hot.Link(map.hot);
  } else if (was_dirty == 0 && is_dirty != 0) {
    place.hot.MarkDirty(map.hot);
  }
}

Place PlaceIn(Cell* cell, HotCache& hot) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  return {.entry = &cell->entry,
          .home = HomePointer::Of(cell),
          .layer = cell->layer,
          .chunk = cell->chunk,
          .hot = hot,
          .census = nullptr};
}

void MakeHoles(const Place& place, Replaced* replaced) {
  EditIn(place, *place.layer, replaced, [&](ChunkMap& map) {
    map.cold.fill({});
    DropHot(map, kAllBlocks, replaced);
  });
}

// What an entry that is not a cell's is charged.
uint64_t ChargedBytes(const Arena& arena, ChunkEntry entry) {
  const ChunkMap map = ChunkMap::Unpack(entry);
  Pages none((ChunkMap()));
  uint64_t bytes = PutBytes(arena, ChunkMap(), none, map) + MapMemory(entry);
  if (map.hot != nullptr) bytes += HotNodeMemory();
  return bytes;
}

void MoveNode(HotNode* node, Layer& from, Layer& to, HomePointer home,
              HotCache& hot) {
  if (node == nullptr) return;
  hot.Move(node, home, from.hot_nodes);
  // A thread that took it out of its queue may not find it again.
  hot.Link(node);
  if (&from == &to) return;
  from.hot_nodes.Remove(node);
  to.hot_nodes.Add(node);
}

// References to what a cell's map holds, which becomes common.
ChunkMap CopyMap(const ChunkMap& map, Account& account) {
  Arena& arena = account.arena();
  ChunkMap copy;
  copy.cold = map.cold;
  map.ForEachFrame([&](Frame* frame, BlockMask) {
    MakeCommon(account, frame);
    RefFrame(frame);
  });
  for (const Slot& slot : map.cold) {
    if (slot.kind != SlotKind::kPage) continue;
    if (arena.MarkCommon(slot.page())) account.Uncharge(kPageBytes);
    arena.RefPage(slot.page());
  }
  return copy;
}

void DropCell(Cell* cell, HotCache& hot) {
  if (!cell->count.Unref()) return;
  Replaced replaced;
  {
    SmallMutexLock lock(&cell->mu);
    MakeHoles(PlaceIn(cell, hot), &replaced);
  }
  Free(&replaced);
  Unpin(cell);
}

}  // namespace

void Free(Replaced* replaced) {
  if (replaced->layer == nullptr) return;
  Account& account = replaced->layer->account;
  for (Frame* frame : replaced->frames) ReleaseFrame(account, frame);
  for (PageId page : replaced->pages) account.FreePage(page);
  replaced->frames.clear();
  replaced->pages.clear();
  replaced->layer = nullptr;
  replaced->keep = nullptr;
}

void SetHot(ChunkMap& map, int block, PageId page, bool dirty) {
  if (map.hot == nullptr) {
    const Place& place = *map.place;
    // Guaranteed: the caller admitted it when it allocated the page.
    map.hot =
        new (place.layer->account.New(sizeof(HotNode), Priority::kGuaranteed))
            HotNode;
    map.hot->home.store(place.home.bits, std::memory_order_relaxed);
    map.hot->chunk = place.chunk;
    place.layer->hot_nodes.Add(map.hot);
  }
  map.hot->pages[block] = page;
  map.hot->present |= BlockBit(block);
  if (dirty) map.hot->dirty |= BlockBit(block);
}

void DropHot(ChunkMap& map, BlockMask blocks, Replaced* replaced) {
  if (map.hot == nullptr) return;
  for (const int block : Bits(blocks & map.hot->present)) {
    replaced->pages.push_back(map.hot->pages[block]);
  }
  map.hot->present &= ~blocks;
  map.hot->dirty &= ~blocks;
}

void EditIn(const Place& place, Layer& editor, Replaced* replaced,
            EditMap edit) {
  if (replaced->layer != place.layer.get()) {
    RAMVOL_CHECK(replaced->frames.empty() && replaced->pages.empty());
    replaced->layer = place.layer.get();
    if (replaced->layer != &editor) replaced->keep = place.layer;
  }
  const ChunkMap before = ChunkMap::Unpack(*place.entry);
  // Both maps share the hot node, so its state must be saved before the edit.
  const BlockMask was_hot = before.hot == nullptr ? 0 : before.hot->present;
  const BlockMask was_dirty = before.hot == nullptr ? 0 : before.hot->dirty;
  const bool moves_charges = &editor != place.layer.get();
  std::optional<Pages> pages_before;
  if (moves_charges) pages_before.emplace(before);
  ChunkMap map = before;
  map.place = &place;
  edit(map);
  if (moves_charges) {
    const Arena& arena = editor.account.arena();
    place.layer->account.TakeCharge(PutBytes(arena, before, *pages_before, map),
                                    editor.account);
  }
  SettleHot(place, map, was_hot, was_dirty);
  const BlockMask affected = AffectedBlocks(before, map);
  // An edit of the hot overlay alone does not change the entry.
  if (affected == 0 && map.hot == before.hot) return;
  if (place.census != nullptr) {
    if (affected != 0) {
      *place.census -= before.TakeCensus(affected);
      *place.census += map.TakeCensus(affected);
    }
    AddTo(place.census, Gauge::kMapMemory, -MapMemory(*place.entry));
  }
  Collect(before, map, affected, replaced);
  Pack(map, place.layer->account, place.entry);
  AddTo(place.census, Gauge::kMapMemory, MapMemory(*place.entry));
}

bool KeepAt(const Home& home, HotCache& hot, Layer& editor, Replaced* replaced,
            EditMap edit) {
  Cell* cell = home.pointer().cell();
  if (Leaf* leaf = home.pointer().leaf()) {
    const int i = static_cast<int>(home.chunk() % kFanout);
    SmallMutexLock lock(&leaf->mu);
    if (leaf->entries[i] == 0) return false;
    cell = CellOf(leaf->entries[i]);
    if (cell == nullptr) {
      EditIn(PlaceIn(leaf, i, hot), editor, replaced, edit);
      leaf->unsettled.store(true, std::memory_order_relaxed);
      return true;
    }
    SmallMutexLock cell_lock(&cell->mu);
    EditIn(PlaceIn(cell, hot), editor, replaced, edit);
    leaf->unsettled.store(true, std::memory_order_relaxed);
    return true;
  }
  SmallMutexLock lock(&cell->mu);
  if (cell->entry == 0) return false;
  EditIn(PlaceIn(cell, hot), editor, replaced, edit);
  return true;
}

bool LookAt(const Home& home, absl::FunctionRef<void(const ChunkMap&)> look) {
  Cell* cell = home.pointer().cell();
  if (Leaf* leaf = home.pointer().leaf()) {
    SmallReaderLock lock(&leaf->mu);
    const ChunkEntry entry = leaf->entries[home.chunk() % kFanout];
    cell = CellOf(entry);
    if (cell == nullptr) {
      if (entry != 0) look(ChunkMap::Unpack(entry));
      return entry != 0;
    }
    SmallReaderLock cell_lock(&cell->mu);
    look(ChunkMap::Unpack(cell->entry));
    return true;
  }
  SmallReaderLock lock(&cell->mu);
  if (cell->entry != 0) look(ChunkMap::Unpack(cell->entry));
  return cell->entry != 0;
}

void Unsettle(const Home& home) {
  // Merging looks at a cell again when it looks at one of its leaves.
  Leaf* leaf = home.pointer().leaf();
  if (leaf != nullptr) leaf->unsettled.store(true, std::memory_order_relaxed);
}

std::shared_ptr<Layer> LayerAt(const Home& home) {
  if (Leaf* leaf = home.pointer().leaf()) {
    SmallReaderLock lock(&leaf->mu);
    const ChunkEntry entry = leaf->entries[home.chunk() % kFanout];
    Cell* cell = CellOf(entry);
    if (cell != nullptr) return cell->layer;
    return entry == 0 ? nullptr : leaf->layer;
  }
  Cell* cell = home.pointer().cell();
  SmallReaderLock lock(&cell->mu);
  return cell->entry == 0 ? nullptr : cell->layer;
}

Place PlaceIn(Leaf* leaf, int i, HotCache& hot) {
  return {.entry = &leaf->entries[i],
          .home = HomePointer::Of(leaf),
          .layer = leaf->layer,
          .chunk = leaf->first_chunk + i,
          .hot = hot,
          .census = &leaf->census};
}

void ClearEntry(Leaf* leaf, int i, HotCache& hot, Replaced* replaced) {
  if (Cell* cell = CellOf(leaf->entries[i])) {
    leaf->entries[i] = 0;
    DropCell(cell, hot);
  } else {
    MakeHoles(PlaceIn(leaf, i, hot), replaced);
  }
  const uint64_t bit = uint64_t{1} << i;
  leaf->present &= ~bit;
  leaf->cells &= ~bit;
  leaf->copied &= ~bit;
}

void LeaveCell(Leaf* leaf, int i, HotCache& hot) {
  Cell* cell = CellOf(leaf->entries[i]);
  if (cell == nullptr) return;
  const uint64_t bit = uint64_t{1} << i;
  leaf->cells &= ~bit;
  if (!cell->count.shared()) {
    // No other leaf can get to it: copying this one takes the index's exclusive
    // lock. Threads that have pinned the cell find it empty.
    {
      SmallMutexLock lock(&cell->mu);
      leaf->entries[i] = std::exchange(cell->entry, 0);
    }
    const ChunkEntry entry = leaf->entries[i];
    MoveNode(ChunkMap::Unpack(entry).hot, *cell->layer, *leaf->layer,
             HomePointer::Of(leaf), hot);
    leaf->layer->account.TakeCharge(
        ChargedBytes(cell->layer->account.arena(), entry),
        cell->layer->account);
    leaf->census += TakeCensus(entry);
    leaf->copied |= bit;
    DropCell(cell, hot);
    return;
  }
  ChunkMap copy;
  std::array<PageId, kBlocksPerChunk> dirty = {};
  {
    SmallMutexLock lock(&cell->mu);
    const ChunkMap map = ChunkMap::Unpack(cell->entry);
    Account& account = cell->layer->account;
    copy = CopyMap(map, account);
    if (map.hot != nullptr) {
      for (const int block : Bits(map.hot->dirty)) {
        dirty[block] = map.hot->pages[block];
        if (account.arena().MarkCommon(dirty[block])) {
          account.Uncharge(kPageBytes);
        }
        account.arena().RefPage(dirty[block]);
      }
    }
  }
  leaf->entries[i] = 0;
  leaf->copied |= bit;
  Replaced nothing;
  EditIn(PlaceIn(leaf, i, hot), *leaf->layer, &nothing, [&](ChunkMap& map) {
    map.cold = copy.cold;
    for (int block = 0; block < kBlocksPerChunk; ++block) {
      if (dirty[block] != 0) SetHot(map, block, dirty[block], true);
    }
  });
  DropCell(cell, hot);
}

Leaf* CopyLeaf(Leaf* leaf, const std::shared_ptr<Layer>& layer, HotCache& hot) {
  Leaf* copy = NewNode<Leaf>(leaf->first_chunk, layer, Priority::kGuaranteed);
  SmallMutexLock copy_lock(&copy->mu);
  for (const int i : Bits(leaf->present)) {
    ChunkEntry& entry = leaf->entries[i];
    if (CellOf(entry) == nullptr) {
      void* memory =
          leaf->layer->account.New(sizeof(Cell), Priority::kGuaranteed);
      Cell* cell = new (memory) Cell(entry, leaf->first_chunk + i, leaf->layer);
      MoveNode(ChunkMap::Unpack(entry).hot, *leaf->layer, *leaf->layer,
               HomePointer::Of(cell), hot);
      entry = EntryOf(cell);
    }
    CellOf(entry)->count.Ref();
    copy->entries[i] = entry;
  }
  leaf->census = {};
  leaf->copied = 0;
  leaf->cells = copy->present = copy->cells = leaf->present;
  return copy;
}

void MoveCharges(Leaf* leaf, const std::shared_ptr<Layer>& layer,
                 HotCache& hot) {
  const std::shared_ptr<Layer> before = std::move(leaf->layer);
  leaf->layer = layer;
  uint64_t bytes = Arena::AllocatedBytes(sizeof(Leaf));
  for (const int i : Bits(leaf->present & ~leaf->cells)) {
    const ChunkEntry entry = leaf->entries[i];
    bytes += ChargedBytes(layer->account.arena(), entry);
    MoveNode(ChunkMap::Unpack(entry).hot, *before, *layer,
             HomePointer::Of(leaf), hot);
  }
  layer->account.TakeCharge(bytes, before->account);
}

void EmptyLeaf(Leaf* leaf, HotCache& hot) {
  Replaced replaced;
  {
    SmallMutexLock lock(&leaf->mu);
    for (const int i : Bits(leaf->present)) {
      ClearEntry(leaf, i, hot, &replaced);
    }
  }
  Free(&replaced);
}

}  // namespace ramvol::engine
