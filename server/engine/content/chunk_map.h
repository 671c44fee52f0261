// Where the blocks of one chunk are: the unpacked form that code works on, and
// the packed one that the index keeps.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_MAP_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_MAP_H_

#include <array>
#include <cstdint>

#include "base/counters.h"
#include "server/engine/content/frame.h"
#include "server/engine/memory/account.h"
#include "server/engine/types/blocks.h"
#include "server/engine/types/stats.h"

namespace ramvol::engine {

struct HotNode;

enum class SlotKind : uint8_t {
  kHole = 0,
  kFrame = 1,    // `value` is a Frame*.
  kPattern = 2,  // `value` is repeated.
  kPage = 3,     // `value` is a PageId: stored raw.
};

// What holds one block.
struct Slot {
  SlotKind kind = SlotKind::kHole;
  uint64_t value = 0;

  static Slot OfFrame(Frame* frame) {
    return {SlotKind::kFrame, reinterpret_cast<uintptr_t>(frame)};
  }
  static Slot OfPage(PageId page) { return {SlotKind::kPage, page}; }
  static Slot OfPattern(uint64_t pattern) {
    return {SlotKind::kPattern, pattern};
  }
  Frame* frame() const {
    return kind == SlotKind::kFrame ? reinterpret_cast<Frame*>(value) : nullptr;
  }
  PageId page() const { return static_cast<PageId>(value); }

  friend bool operator==(const Slot&, const Slot&) = default;
};

// What the index keeps of a chunk: 0 for a hole; a Frame* tagged with 1 that
// holds all 16 blocks; or a PackedChunk* tagged with 2.
using ChunkEntry = uint64_t;

// What the blocks of a chunk add to its volume's statistics.
enum class Gauge {
  kCompressedBlocks,
  kRawBlocks,
  kSameFilledBlocks,
  kDirtyBlocks,
  kHotBlocks,
  kDeadBytes,
  kFrames0,  // kSpans of them, by SpanLog2.
  kFrameBytes0 = kFrames0 + kSpans,
  kCount = kFrameBytes0 + kSpans,
};
using Gauges = Counters<Gauge>;
using Census = std::array<int64_t, static_cast<size_t>(Gauge::kCount)>;

// The unpacked form. It has two layers: a block in the hot overlay is read from
// there, else from `cold`. A clean hot block has its cold slot still; a dirty
// one has none. The map owns one reference to each distinct frame and page in
// it.
struct ChunkMap {
  std::array<Slot, kBlocksPerChunk> cold = {};
  HotNode* hot = nullptr;

  static ChunkMap Unpack(ChunkEntry entry);

  // Blocks that are not holes.
  BlockMask PresentBlocks() const;
  // Blocks whose cold slot is `frame`.
  BlockMask BlocksOf(const Frame* frame) const;
  // Calls visit(frame, its blocks here) once for each frame in a cold slot.
  template <typename Visit>
  void ForEachFrame(const Visit& visit) const {
    BlockMask seen = 0;
    for (int block = 0; block < kBlocksPerChunk; ++block) {
      Frame* const frame = cold[block].frame();
      if (frame == nullptr || Holds(seen, block)) continue;
      const BlockMask live = BlocksOf(frame);
      seen |= live;
      visit(frame, live);
    }
  }
  // What `blocks`, and the frames that these are in, add to the statistics;
  // but for the hot overlay.
  Census TakeCensus(BlockMask blocks) const;
};

// The blocks whose cold slots differ, and all that share a frame with one of
// them in either map: only what these add to the statistics can differ.
BlockMask AffectedBlocks(const ChunkMap& before, const ChunkMap& after);

// Makes `*entry` say what `map` says. Its memory is charged to `account` at
// Priority::kGuaranteed: callers have admitted it before. References move from
// `map` to the entry.
void Pack(const ChunkMap& map, Account& account, ChunkEntry* entry);

// Moves the memory of `*entry` itself, where Arena::ShouldMove says so and
// there is room for a copy. The chunk's leaf is locked.
void MoveMap(ChunkEntry* entry, Account& account);

// The non-hole blocks of an entry, found faster than by unpacking it.
BlockMask PresentBlocks(ChunkEntry entry);

// The frame of an entry that is one whole frame, else nullptr.
inline Frame* WholeFrame(ChunkEntry entry) {
  return (entry & 3) == 1 ? reinterpret_cast<Frame*>(entry & ~ChunkEntry{3})
                          : nullptr;
}

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_MAP_H_
