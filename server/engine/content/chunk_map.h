// Where the blocks of one chunk are stored: the unpacked form for code to work
// on, and the packed form that the index keeps.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_MAP_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_MAP_H_

#include <array>
#include <cstdint>

#include "server/engine/content/frame.h"
#include "server/engine/content/hot_blocks.h"
#include "server/engine/memory/account.h"
#include "server/engine/types/blocks.h"
#include "server/engine/types/stats.h"

namespace ramvol::engine {

struct HotNode;

enum class SlotKind : uint8_t {
  kHole = 0,
  kFrame = 1,    // `value` is a Frame*.
  kPattern = 2,  // `value` fills the block, repeated.
  kPage = 3,     // `value` is a PageId: stored raw.
};

// Where one block is stored.
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

// The packed form: 0 for a hole; a Frame* tagged with 1 for a chunk that is one
// whole frame; else a PackedChunk* tagged with 2. Those of a leaf can also be a
// Cell* tagged with 3, which the functions here do not know.
using ChunkEntry = uint64_t;
inline constexpr ChunkEntry kCellTag = 3;

// The statistics that chunks add up to.
enum class Gauge {
  kCompressedBlocks,
  kRawBlocks,
  kSameFilledBlocks,
  kDirtyBlocks,
  kHotBlocks,
  kDeadBytes,
  kFrames0,  // kSpans gauges, by SpanLog2.
  kFrameBytes0 = kFrames0 + kSpans,
  // What frames take in the arena, and what packed maps and hot nodes do.
  kFrameMemory = kFrameBytes0 + kSpans,
  kMapMemory,
  kCount,
};
// Values by gauge.
template <typename Value>
struct CensusOf {
  std::array<Value, static_cast<size_t>(Gauge::kCount)> values = {};

  Value& operator[](Gauge gauge) { return values[static_cast<size_t>(gauge)]; }
  Value operator[](Gauge gauge) const {
    return values[static_cast<size_t>(gauge)];
  }
  template <typename Other>
  CensusOf& operator+=(const CensusOf<Other>& other) {
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] += static_cast<Value>(other.values[i]);
    }
    return *this;
  }
  template <typename Other>
  CensusOf& operator-=(const CensusOf<Other>& other) {
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] -= static_cast<Value>(other.values[i]);
    }
    return *this;
  }
  // All memory that chunks take.
  uint64_t memory_bytes() const {
    const auto pages = static_cast<uint64_t>((*this)[Gauge::kRawBlocks]) +
                       static_cast<uint64_t>((*this)[Gauge::kHotBlocks]);
    return pages * kPageBytes +
           static_cast<uint64_t>((*this)[Gauge::kFrameMemory]) +
           static_cast<uint64_t>((*this)[Gauge::kMapMemory]);
  }
};
using Census = CensusOf<int64_t>;
// Of the chunks of a leaf, whose numbers are small.
using SmallCensus = CensusOf<int32_t>;

// The unpacked form. It has two layers: a block in the hot overlay is read from
// there, any other from `cold`. A clean hot block also keeps its cold slot; a
// dirty one has none. The map owns one reference to each distinct frame and
// page.
struct ChunkMap {
  std::array<Slot, kBlocksPerChunk> cold = {};
  // The hot overlay; may be nullptr when it is empty. During an edit it is a
  // copy, which the end of the edit stores.
  HotBlocks* hot = nullptr;
  HotNode* node = nullptr;  // What holds the overlay.

  static ChunkMap Unpack(ChunkEntry entry);

  // Blocks that are not holes.
  BlockMask PresentBlocks() const;
  // Blocks whose cold slot is `frame`.
  BlockMask BlocksOf(const Frame* frame) const;
  // Calls visit(frame, blocks of the chunk in it) once for each frame.
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
  // What `blocks` and their frames add to the statistics, without the hot
  // overlay and the map's own memory.
  Census TakeCensus(BlockMask blocks) const;
};

// All that the map of an entry adds to the statistics.
Census TakeCensus(ChunkEntry entry);
// What its packed form takes in the arena, without its hot node.
int64_t MapMemory(ChunkEntry entry);

// The blocks whose cold slots differ, and all that share a frame with one of
// them in either map. Only these can change the statistics.
BlockMask AffectedBlocks(const ChunkMap& before, const ChunkMap& after);

// Publishes the packed form of `map`, with its node, in `*entry`, and frees the
// old one. References move from `map` to the entry. Charges `account` at
// Priority::kGuaranteed: callers must have admitted the memory before.
void Pack(const ChunkMap& map, Account& account, ChunkEntry* entry);

// Moves the packed form itself if Arena::ShouldMove says so and a copy fits.
// The chunk's leaf must be locked.
void MoveMap(ChunkEntry* entry, Account& account);

// Claims the packed map of `*entry`, which is neither a hole nor a whole frame,
// and its hot node; not the frames and pages, which are left to the caller.
// Completes what an edit of `chunk` was doing when its process was killed, as
// StoreBeforeEntry (chunk_edit.cc) says. False when it is no packed map.
bool ClaimPacked(Arena& arena, ChunkEntry* entry, uint64_t chunk);

// The blocks of an entry that are not holes; faster than unpacking it.
BlockMask PresentBlocks(ChunkEntry entry);

// The hot node of an entry's map, or nullptr; faster than unpacking it.
HotNode* HotNodeOf(ChunkEntry entry);

// The frame of a chunk that is one whole frame, else nullptr.
inline Frame* WholeFrame(ChunkEntry entry) {
  return (entry & 3) == 1 ? reinterpret_cast<Frame*>(entry & ~ChunkEntry{3})
                          : nullptr;
}

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_MAP_H_
