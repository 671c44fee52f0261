#include "server/engine/content/chunk_map.h"

#include <bit>
#include <cstring>
#include <new>

#include "server/engine/content/hot_node.h"
#include "server/engine/content/publish.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {
namespace {

// The packed form of a map. Blocks refer to slots by number, and the blocks of
// one frame share a slot. So a chunk of four frames takes 24 + 4 * 8 bytes, and
// a single block 24 + 8.
struct PackedChunk {
  HotNode* hot;
  uint64_t slot_of;   // 4 bits for each block.
  uint32_t kinds;     // 2 bits for each slot.
  BlockMask present;  // Blocks that have a slot.
  uint8_t slots;
  uint8_t unused;
  // Followed by the slots' values, 8 bytes each.

  uint64_t* values() { return reinterpret_cast<uint64_t*>(this + 1); }
  const uint64_t* values() const {
    return reinterpret_cast<const uint64_t*>(this + 1);
  }
  static size_t Bytes(int slots) {
    return sizeof(PackedChunk) + slots * sizeof(uint64_t);
  }
};
static_assert(sizeof(PackedChunk) == 24);

constexpr ChunkEntry kFrameTag = 1;
constexpr ChunkEntry kPackedTag = 2;

PackedChunk* AsPacked(ChunkEntry entry) {
  return (entry & 3) == kPackedTag
             ? reinterpret_cast<PackedChunk*>(entry & ~ChunkEntry{3})
             : nullptr;
}

// A packed form that is not in the arena yet.
struct Layout {
  PackedChunk head = {};
  std::array<uint64_t, kBlocksPerChunk> values;

  // The number of an equal slot, which is added if there is none.
  int NumberOf(const Slot& slot) {
    // Backwards: neighbouring blocks mostly share the newest slot.
    for (int i = head.slots - 1; i >= 0; --i) {
      if (values[i] == slot.value &&
          ((head.kinds >> (2 * i)) & 3) == static_cast<uint32_t>(slot.kind)) {
        return i;
      }
    }
    head.kinds |= static_cast<uint32_t>(slot.kind) << (2 * head.slots);
    values[head.slots] = slot.value;
    return head.slots++;
  }
};

Layout LayOut(const ChunkMap& map) {
  Layout layout;
  layout.head.hot = map.node;
  for (int block = 0; block < kBlocksPerChunk; ++block) {
    const Slot& slot = map.cold[block];
    if (slot.kind == SlotKind::kHole) continue;
    layout.head.present |= BlockBit(block);
    layout.head.slot_of |= static_cast<uint64_t>(layout.NumberOf(slot))
                           << (4 * block);
  }
  return layout;
}

bool IsWholeFrame(const Layout& layout) {
  return layout.head.hot == nullptr && layout.head.slots == 1 &&
         layout.head.present == kAllBlocks &&
         layout.head.kinds == static_cast<uint32_t>(SlotKind::kFrame);
}

void FreePacked(PackedChunk* packed, Account& account) {
  if (packed == nullptr) return;
  account.Delete(packed, PackedChunk::Bytes(packed->slots));
}

}  // namespace

ChunkMap ChunkMap::Unpack(ChunkEntry entry) {
  ChunkMap map;
  if (Frame* frame = WholeFrame(entry)) {
    map.cold.fill(Slot::OfFrame(frame));
    return map;
  }
  const PackedChunk* packed = AsPacked(entry);
  if (packed == nullptr) return map;
  map.hot = map.node = packed->hot;
  for (const int block : Bits(packed->present)) {
    const int slot = (packed->slot_of >> (4 * block)) & 15;
    map.cold[block] = {static_cast<SlotKind>((packed->kinds >> (2 * slot)) & 3),
                       packed->values()[slot]};
  }
  return map;
}

void Pack(const ChunkMap& map, Account& account, ChunkEntry* entry) {
  const Layout layout = LayOut(map);
  PackedChunk* const old = AsPacked(*entry);
  if (IsWholeFrame(layout)) {
    Publish(*entry, layout.values[0] | kFrameTag);
  } else if (map.node == nullptr && layout.head.present == 0) {
    Publish(*entry, ChunkEntry{0});
  } else {
    auto* packed = static_cast<PackedChunk*>(account.New(
        PackedChunk::Bytes(layout.head.slots), Priority::kGuaranteed));
    *packed = layout.head;
    std::memcpy(packed->values(), layout.values.data(),
                layout.head.slots * sizeof(uint64_t));
    Publish(*entry, reinterpret_cast<uintptr_t>(packed) | kPackedTag);
  }
  FreePacked(old, account);
}

void MoveMap(ChunkEntry* entry, Account& account) {
  PackedChunk* packed = AsPacked(*entry);
  if (packed == nullptr || !account.arena().ShouldMove(packed)) return;
  const size_t bytes = PackedChunk::Bytes(packed->slots);
  void* copy = account.New(bytes, Priority::kReclaim);
  if (copy == nullptr) return;
  std::memcpy(copy, packed, bytes);
  Publish(*entry, reinterpret_cast<uintptr_t>(copy) | kPackedTag);
  account.Delete(packed, bytes);
}

namespace {

// The hot node of a map that was found; nullptr when it holds nothing any more.
// False when it is no hot node.
bool ClaimHotNode(Arena& arena, uint64_t chunk, BlockMask cold,
                  HotNode** node) {
  HotNode* found = *node;
  if (found == nullptr) return true;
  if (!arena.Contains(found, sizeof(HotNode)) || found->chunk != chunk) {
    return false;
  }
  // All blocks had left it, and the map was about to.
  if (found->present == 0) {
    Publish(*node, static_cast<HotNode*>(nullptr));
    return true;
  }
  if (arena.ClaimObject(found, sizeof(HotNode)) != Claim::kFirst) {
    return false;
  }
  // What no cold slot holds is dirty.
  Publish<BlockMask>(
      found->dirty, (found->dirty & found->present) | (found->present & ~cold));
  found->previous = found->next = found->older = found->newer = nullptr;
  found->queue = HotQueue::kNone;
  found->uses.store(0, std::memory_order_relaxed);
  return true;
}

bool IsValid(const PackedChunk& packed) {
  if (packed.slots > kBlocksPerChunk) return false;
  for (const int block : Bits(packed.present)) {
    const int slot = (packed.slot_of >> (4 * block)) & 15;
    if (slot >= packed.slots) return false;
    const auto kind = static_cast<SlotKind>((packed.kinds >> (2 * slot)) & 3);
    if (kind == SlotKind::kHole) return false;
    const uint64_t value = packed.values()[slot];
    if (kind == SlotKind::kFrame && value == 0) return false;
    if (kind == SlotKind::kPage && value >> 32 != 0) return false;
  }
  return true;
}

}  // namespace

bool ClaimPacked(Arena& arena, ChunkEntry* entry, uint64_t chunk) {
  PackedChunk* packed = AsPacked(*entry);
  if (packed == nullptr || !arena.Contains(packed, sizeof(PackedChunk)) ||
      packed->slots > kBlocksPerChunk) {
    return false;
  }
  const size_t bytes = PackedChunk::Bytes(packed->slots);
  if (!arena.Contains(packed, bytes) || !IsValid(*packed)) return false;
  if (!ClaimHotNode(arena, chunk, packed->present, &packed->hot)) return false;
  if (packed->hot == nullptr && packed->present == 0) {
    Publish(*entry, ChunkEntry{0});
    return true;
  }
  if (arena.ClaimObject(packed, bytes) != Claim::kFirst) return false;
  // A dirty block has left its cold slot.
  if (packed->hot != nullptr) {
    Publish<BlockMask>(packed->present, packed->present & ~packed->hot->dirty);
  }
  return true;
}

HotNode* HotNodeOf(ChunkEntry entry) {
  const PackedChunk* packed = AsPacked(entry);
  return packed == nullptr ? nullptr : packed->hot;
}

BlockMask PresentBlocks(ChunkEntry entry) {
  if (WholeFrame(entry) != nullptr) return kAllBlocks;
  const PackedChunk* packed = AsPacked(entry);
  if (packed == nullptr) return 0;
  return packed->present | (packed->hot == nullptr ? 0 : packed->hot->dirty);
}

BlockMask ChunkMap::PresentBlocks() const {
  BlockMask present = hot == nullptr ? 0 : hot->dirty;
  for (int block = 0; block < kBlocksPerChunk; ++block) {
    if (cold[block].kind != SlotKind::kHole) present |= BlockBit(block);
  }
  return present;
}

BlockMask ChunkMap::BlocksOf(const Frame* frame) const {
  BlockMask blocks = 0;
  for (int block = 0; block < kBlocksPerChunk; ++block) {
    if (cold[block].frame() == frame) blocks |= BlockBit(block);
  }
  return blocks;
}

Census ChunkMap::TakeCensus(BlockMask blocks) const {
  Census census = {};
  const auto add = [&census](Gauge gauge, int offset, int64_t amount) {
    census.values[static_cast<size_t>(gauge) + offset] += amount;
  };
  BlockMask counted = 0;  // Blocks whose frame was counted.
  for (const int block : Bits(blocks)) {
    const Slot& slot = cold[block];
    switch (slot.kind) {
      case SlotKind::kHole:
        break;
      case SlotKind::kPattern:
        add(Gauge::kSameFilledBlocks, 0, 1);
        break;
      case SlotKind::kPage:
        add(Gauge::kRawBlocks, 0, 1);
        break;
      case SlotKind::kFrame: {
        add(Gauge::kCompressedBlocks, 0, 1);
        if (Holds(counted, block)) break;
        const Frame* frame = slot.frame();
        const BlockMask live = BlocksOf(frame);
        counted |= live;
        const int all = std::popcount(frame->blocks);
        const int dead = all - std::popcount(live);
        add(Gauge::kFrames0, frame->SpanLog2(), 1);
        add(Gauge::kFrameBytes0, frame->SpanLog2(), frame->stored);
        add(Gauge::kDeadBytes, 0, int64_t{frame->stored} * dead / all);
        add(Gauge::kFrameMemory, 0,
            static_cast<int64_t>(frame->ChargedBytes()));
        break;
      }
    }
  }
  return census;
}

Census TakeCensus(ChunkEntry entry) {
  const ChunkMap map = ChunkMap::Unpack(entry);
  Census census = map.TakeCensus(kAllBlocks);
  census[Gauge::kMapMemory] = MapMemory(entry);
  if (map.hot != nullptr) {
    census[Gauge::kHotBlocks] = std::popcount(map.hot->present);
    census[Gauge::kDirtyBlocks] = std::popcount(map.hot->dirty);
    census[Gauge::kMapMemory] += Arena::AllocatedBytes(sizeof(HotNode));
  }
  return census;
}

int64_t MapMemory(ChunkEntry entry) {
  const PackedChunk* packed = AsPacked(entry);
  if (packed == nullptr) return 0;
  return static_cast<int64_t>(
      Arena::AllocatedBytes(PackedChunk::Bytes(packed->slots)));
}

BlockMask AffectedBlocks(const ChunkMap& before, const ChunkMap& after) {
  BlockMask changed = 0;
  for (int block = 0; block < kBlocksPerChunk; ++block) {
    if (before.cold[block] != after.cold[block]) {
      changed |= BlockBit(block);
    }
  }
  BlockMask affected = changed;
  for (const int block : Bits(changed)) {
    for (const ChunkMap* map : {&before, &after}) {
      const Frame* frame = map->cold[block].frame();
      if (frame != nullptr) affected |= map->BlocksOf(frame);
    }
  }
  return affected;
}

}  // namespace ramvol::engine
