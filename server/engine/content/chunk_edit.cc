#include "server/engine/content/chunk_edit.h"

#include <algorithm>
#include <array>
#include <bit>
#include <new>
#include <utility>

#include "base/check.h"
#include "server/engine/content/hot_blocks.h"
#include "server/engine/content/hot_node.h"
#include "server/engine/content/publish.h"

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
                  const ChunkMap& after) {
  uint64_t bytes = 0;
  after.ForEachFrame([&](const Frame* frame, BlockMask) {
    const bool put = before.BlocksOf(frame) == 0 &&
                     !frame->common.load(std::memory_order_relaxed);
    if (put) bytes += frame->ChargedBytes();
  });
  const Pages pages_before(before);
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

HotNode* NewHotNode(const Place& place, const HotBlocks& hot) {
  // Guaranteed: the caller admitted it when it allocated the page.
  void* memory =
      place.layer->account.New(sizeof(HotNode), Priority::kGuaranteed);
  HotNode* node = new (memory) HotNode;
  static_cast<HotBlocks&>(*node) = hot;
  node->home.store(place.home.bits, std::memory_order_relaxed);
  node->chunk = place.chunk;
  place.layer->hot_nodes.Add(node);
  return node;
}

void FreeHotNode(const Place& place, HotNode* node) {
  place.hot.Unlink(node);
  place.layer->hot_nodes.Remove(node);
  node->~HotNode();
  place.layer->account.Delete(node, sizeof(HotNode));
}

// An overlay changes block by block, before and after the entry. After each
// store, a block reads as it did before the edit or as it does after it, and
// the page of a clean block holds what its cold slot does:
//
// 1. What is clean and changes leaves the overlay, or becomes dirty.
// 2. Dirty blocks get their new pages. They hide their cold slots.
// 3. The entry gets its new cold slots.
// 4. What is clean, or not hot any more, stops hiding its cold slot.
void StoreBeforeEntry(const HotBlocks& hot, HotNode* node) {
  BlockMask new_page = 0;
  for (const int block : Bits(hot.present)) {
    if (hot.pages[block] != node->pages[block]) new_page |= BlockBit(block);
  }
  const BlockMask clean = node->present & ~node->dirty;
  const BlockMask changed = clean & (~hot.present | hot.dirty | new_page);
  Publish<BlockMask>(node->dirty, node->dirty | (changed & hot.dirty));
  Publish<BlockMask>(node->present, node->present & ~(changed & ~hot.dirty));
  for (const int block : Bits(new_page)) {
    Publish(node->pages[block], hot.pages[block]);
  }
  Publish<BlockMask>(node->dirty, node->dirty | hot.dirty);
  Publish<BlockMask>(node->present, node->present | hot.dirty);
}

void StoreAfterEntry(const HotBlocks& hot, HotNode* node) {
  Publish<BlockMask>(node->present, node->present & hot.present);
  Publish<BlockMask>(node->dirty, hot.dirty);
  Publish<BlockMask>(node->present, hot.present);
}

// Counts the change of the overlay in the statistics.
void CountHot(const Place& place, const HotBlocks& was, const HotBlocks& is) {
  const int64_t hot = std::popcount(is.present) - std::popcount(was.present);
  const int64_t dirty = std::popcount(is.dirty) - std::popcount(was.dirty);
  AddTo(place.census, Gauge::kHotBlocks, hot);
  AddTo(place.census, Gauge::kDirtyBlocks, dirty);
  place.hot.AddBlocks(hot, dirty);
  const int nodes = (is.present != 0 ? 1 : 0) - (was.present != 0 ? 1 : 0);
  AddTo(place.census, Gauge::kMapMemory, nodes * HotNodeMemory());
}

// Stores the map of an edit, of which `entry_changes` says whether anything but
// the overlay differs.
void Store(const Place& place, const ChunkMap& before, bool entry_changes,
           ChunkMap* map) {
  const HotBlocks was = before.node == nullptr ? HotBlocks() : *before.node;
  const HotBlocks& hot = *map->hot;
  const bool stays = before.node != nullptr && hot.present != 0;
  if (before.node == nullptr && hot.present != 0) {
    map->node = NewHotNode(place, hot);
  } else if (hot.present == 0) {
    map->node = nullptr;
  }
  const bool overlay_changes = stays && hot != was;
  if (overlay_changes) StoreBeforeEntry(hot, map->node);
  if (entry_changes || map->node != before.node) {
    AddTo(place.census, Gauge::kMapMemory, -MapMemory(*place.entry));
    Pack(*map, place.layer->account, place.entry);
    AddTo(place.census, Gauge::kMapMemory, MapMemory(*place.entry));
  }
  if (overlay_changes) StoreAfterEntry(hot, map->node);
  CountHot(place, was, hot);
  if (before.node != nullptr && !stays) {
    FreeHotNode(place, before.node);
  } else if (map->node != before.node) {
    place.hot.Link(map->node);
  } else if (stays && was.dirty == 0 && hot.dirty != 0) {
    place.hot.MarkDirty(map->node);
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

// What of an entry is charged to no account.
uint64_t CommonBytes(const Arena& arena, ChunkEntry entry) {
  const ChunkMap map = ChunkMap::Unpack(entry);
  uint64_t bytes = 0;
  map.ForEachFrame([&](const Frame* frame, BlockMask) {
    const bool common = frame->common.load(std::memory_order_relaxed);
    if (common) bytes += frame->ChargedBytes();
  });
  const Pages pages(map);
  for (int block = 0; block < kBlocksPerChunk; ++block) {
    for (const PageId page : {pages.cold[block], pages.hot[block]}) {
      if (page != 0 && arena.IsCommon(page)) bytes += kPageBytes;
    }
  }
  return bytes;
}

// What the entries of a leaf that are not cells' are charged. Looks only at
// those that may hold something common: an edit may call this.
uint64_t ChargedBytes(const Arena& arena, Leaf* leaf)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(leaf->mu) {
  uint64_t bytes = leaf->census.memory_bytes();
  for (const int i : Bits(leaf->copied & leaf->present & ~leaf->cells)) {
    bytes -= CommonBytes(arena, leaf->entries[i]);
  }
#ifndef NDEBUG
  uint64_t one_by_one = 0;
  for (const int i : Bits(leaf->present & ~leaf->cells)) {
    one_by_one += ChargedBytes(arena, leaf->entries[i]);
  }
  RAMVOL_CHECK(bytes == one_by_one);
#endif
  return bytes;
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

uint64_t ChargedBytes(const Arena& arena, ChunkEntry entry) {
  const ChunkMap map = ChunkMap::Unpack(entry);
  uint64_t bytes = PutBytes(arena, ChunkMap(), map) + MapMemory(entry);
  if (map.hot != nullptr) bytes += HotNodeMemory();
  return bytes;
}

bool HoldsCommon(const Arena& arena, ChunkEntry entry) {
  return CommonBytes(arena, entry) != 0;
}

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
  HotBlocks hot = before.node == nullptr ? HotBlocks() : *before.node;
  ChunkMap map = before;
  map.hot = &hot;
  edit(map);
  if (&editor != place.layer.get()) {
    const Arena& arena = editor.account.arena();
    place.layer->account.TakeCharge(PutBytes(arena, before, map),
                                    editor.account);
  }
  const BlockMask affected = AffectedBlocks(before, map);
  if (affected != 0 && place.census != nullptr) {
    *place.census -= before.TakeCensus(affected);
    *place.census += map.TakeCensus(affected);
  }
  Collect(before, map, affected, replaced);
  Store(place, before, affected != 0, &map);
}

bool KeepAt(const Home& home, HotCache& hot, Layer& editor, Replaced* replaced,
            EditMap edit, bool shares) {
  Cell* cell = home.pointer().cell();
  if (Leaf* leaf = home.pointer().leaf()) {
    const int i = static_cast<int>(home.chunk() % kFanout);
    SmallMutexLock lock(&leaf->mu);
    if (leaf->entries[i] == 0) return false;
    cell = CellOf(leaf->entries[i]);
    if (cell == nullptr) {
      if (shares) leaf->copied |= uint64_t{1} << i;
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

ChunkMap ShareAt(const Home& home) {
  Cell* cell = home.pointer().cell();
  if (Leaf* leaf = home.pointer().leaf()) {
    const auto i = static_cast<int>(home.chunk() % kFanout);
    SmallMutexLock lock(&leaf->mu);
    const ChunkEntry entry = leaf->entries[i];
    cell = CellOf(entry);
    if (cell == nullptr) {
      if (entry != 0) leaf->copied |= uint64_t{1} << i;
      return CopyMap(ChunkMap::Unpack(entry), leaf->layer->account);
    }
    SmallMutexLock cell_lock(&cell->mu);
    return CopyMap(ChunkMap::Unpack(cell->entry), cell->layer->account);
  }
  SmallMutexLock lock(&cell->mu);
  return CopyMap(ChunkMap::Unpack(cell->entry), cell->layer->account);
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
    Publish(leaf->entries[i], ChunkEntry{0});
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
      Publish(leaf->entries[i], cell->entry);
      cell->entry = 0;
    }
    const ChunkEntry entry = leaf->entries[i];
    MoveNode(ChunkMap::Unpack(entry).node, *cell->layer, *leaf->layer,
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
  leaf->copied |= bit;
  ChunkEntry entry = 0;
  Place place = PlaceIn(leaf, i, hot);
  place.entry = &entry;
  Replaced nothing;
  EditIn(place, *leaf->layer, &nothing, [&](ChunkMap& map) {
    map.cold = copy.cold;
    for (int block = 0; block < kBlocksPerChunk; ++block) {
      if (dirty[block] != 0) SetHot(map, block, dirty[block], true);
    }
  });
  Publish(leaf->entries[i], entry);
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
      MoveNode(ChunkMap::Unpack(entry).node, *leaf->layer, *leaf->layer,
               HomePointer::Of(cell), hot);
      Publish(entry, EntryOf(cell));
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
  const uint64_t bytes = Arena::AllocatedBytes(sizeof(Leaf)) +
                         ChargedBytes(layer->account.arena(), leaf);
  for (const int i : Bits(leaf->present & ~leaf->cells)) {
    MoveNode(HotNodeOf(leaf->entries[i]), *before, *layer,
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
