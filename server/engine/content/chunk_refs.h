// References to what holds some blocks of a chunk, taken under its leaf's lock
// and read without it.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_REFS_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_REFS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/duration_histogram.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/frame.h"
#include "server/engine/memory/arena.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

// What reading through them cost; added up by the caller, but for
// `durations`.
struct ReadCost {
  explicit ReadCost(DurationHistogram& each) : durations(each) {}

  DurationHistogram& durations;
  int64_t began_ns = 0;  // The first decompression.
  int64_t decompressions = 0;
  int64_t decompress_ns = 0;
  int64_t corrupt_frames = 0;
};

// Not thread-safe. Borrows `arena`, which must outlive it.
class ChunkRefs {
 public:
  explicit ChunkRefs(Arena& arena) : arena_(arena) {}
  ~ChunkRefs() { Clear(); }
  ChunkRefs(const ChunkRefs&) = delete;
  ChunkRefs& operator=(const ChunkRefs&) = delete;

  // Drops what it had and takes references for `blocks` of `map`. The chunk's
  // leaf is locked.
  void Take(const ChunkMap& map, BlockMask blocks);
  void Clear();

  // The slot that block `block` is read from: of the hot overlay, as a page, if
  // it is there, else the cold one. Only for blocks that were taken.
  const Slot& slot(int block) const { return slots_[block]; }
  BlockMask hot_blocks() const { return hot_; }
  // True when the same things hold `blocks` (all taken) in `map` still.
  bool SameIn(const ChunkMap& map, BlockMask blocks) const;

  // Copies bytes [begin, end) of the chunk to `out`; false when a frame is
  // damaged. All blocks in the range were taken.
  bool Copy(size_t begin, size_t end, char* out, ReadCost* cost);
  // Copies `blocks`, all taken, each to its own place in the chunk at `chunk`,
  // decompressing each frame once. Returns those in damaged frames.
  BlockMask CopyBlocks(BlockMask blocks, char* chunk, ReadCost* cost);
  // True when all of `blocks` are in pages.
  bool AllPages(BlockMask blocks) const;
  // The frame whose whole content the last Copy left in the thread's
  // Scratch::content, or nullptr.
  const Frame* frame_in_scratch() const { return frame_in_scratch_; }

 private:
  static Slot Current(const ChunkMap& map, int block);
  bool CopyFromFrame(int first, BlockMask blocks, size_t begin, size_t end,
                     char* out, ReadCost* cost);
  BlockMask BlocksOfFrame(int first, BlockMask of) const;

  Arena& arena_;
  BlockMask taken_ = 0;
  BlockMask hot_ = 0;
  const Frame* frame_in_scratch_ = nullptr;
  std::array<Slot, kBlocksPerChunk> slots_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_REFS_H_
