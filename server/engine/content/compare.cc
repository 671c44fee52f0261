#include "server/engine/content/compare.h"

#include <algorithm>
#include <array>
#include <optional>

#include "server/engine/content/chunk_map.h"
#include "server/engine/content/hot_node.h"
#include "server/engine/content/node.h"

namespace ramvol::engine {
namespace {

// A subtree. Its node may be of a lower level than the subtree: then it is the
// first child, and the only one.
struct Subtree {
  Node* node = nullptr;
  int node_level = 0;

  Subtree Child(int level, size_t i) const {
    if (node == nullptr || node_level < level) {
      return i == 0 ? *this : Subtree();
    }
    Node* child =
        static_cast<Inner*>(node)->children[i].load(std::memory_order_acquire);
    return {child, level - 1};
  }
};

struct LeafPair {
  uint64_t first_chunk;
  Leaf* a;
  Leaf* b;
};

std::optional<LeafPair> FindDifference(const Subtree& a, const Subtree& b,
                                       int level, uint64_t base,
                                       uint64_t chunk) {
  if (a.node == b.node) return std::nullopt;
  if (level == 0) {
    return LeafPair{base, static_cast<Leaf*>(a.node),
                    static_cast<Leaf*>(b.node)};
  }
  const int shift = Index::ChildShift(level);
  size_t child = chunk > base ? (chunk - base) >> shift : 0;
  for (; child < kFanout; ++child) {
    auto found =
        FindDifference(a.Child(level, child), b.Child(level, child), level - 1,
                       base + (uint64_t{child} << shift), chunk);
    if (found.has_value()) return found;
  }
  return std::nullopt;
}

// Where each block is read from, so that equal slots hold equal content. The
// page of a clean hot block is a copy of what its cold slot holds.
using Slots = std::array<Slot, kBlocksPerChunk>;

Slots SlotsOf(ChunkEntry entry) {
  const ChunkMap map = ChunkMap::Unpack(entry);
  Slots slots = map.cold;
  if (map.hot == nullptr) return slots;
  for (const int block : Bits(map.hot->dirty)) {
    slots[block] = Slot::OfPage(map.hot->pages[block]);
  }
  return slots;
}

Slots LockedSlotsOf(ChunkEntry entry) {
  Cell* cell = CellOf(entry);
  if (cell == nullptr) return SlotsOf(entry);
  SmallReaderLock lock(&cell->mu);
  return SlotsOf(cell->entry);
}

// With the locks of both leaves.
void CompareEntries(const LeafPair& pair, std::vector<ChangedChunk>* changed)
    ABSL_NO_THREAD_SAFETY_ANALYSIS {
  for (int i = 0; i < kFanout; ++i) {
    const ChunkEntry a = pair.a == nullptr ? 0 : pair.a->entries[i];
    const ChunkEntry b = pair.b == nullptr ? 0 : pair.b->entries[i];
    if (a == b) continue;
    const Slots in_a = LockedSlotsOf(a);
    const Slots in_b = LockedSlotsOf(b);
    BlockMask blocks = 0;
    for (int block = 0; block < kBlocksPerChunk; ++block) {
      if (in_a[block] != in_b[block]) blocks |= BlockBit(block);
    }
    if (blocks != 0) changed->push_back({pair.first_chunk + i, blocks});
  }
}

}  // namespace

uint64_t CompareLeaf(const Index& a, const Index& b, uint64_t chunk,
                     std::vector<ChangedChunk>* changed) {
  const Tree in_a = a.PeekTree();
  const Tree in_b = b.PeekTree();
  const int level = std::max(in_a.level, in_b.level);
  const int shift = Index::ChildShift(level + 1);
  if (shift < 64 && chunk >> shift != 0) return ~uint64_t{0};
  const auto pair = FindDifference({in_a.root, in_a.level},
                                   {in_b.root, in_b.level}, level, 0, chunk);
  if (!pair.has_value()) return ~uint64_t{0};
  // By address, as all who lock two leaves.
  Leaf* const one = std::min(pair->a, pair->b);
  Leaf* const two = std::max(pair->a, pair->b);
  if (one == nullptr) {
    SmallReaderLock two_lock(&two->mu);
    CompareEntries(*pair, changed);
  } else {
    SmallReaderLock one_lock(&one->mu);
    SmallReaderLock two_lock(&two->mu);
    CompareEntries(*pair, changed);
  }
  return pair->first_chunk + kFanout;
}

}  // namespace ramvol::engine
