// References to the frames and pages of a chunk's blocks, taken under the
// leaf's lock and read without it.
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

// What reading cost. The caller adds it up, except `durations`, which counts at
// once.
struct ReadCost {
  explicit ReadCost(DurationHistogram& each) : durations(each) {}

  DurationHistogram& durations;
  int64_t began_ns = 0;  // When the first decompression began.
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

  // Drops all references and takes new ones for `blocks` of `map`. The chunk's
  // leaf must be locked.
  void Take(const ChunkMap& map, BlockMask blocks);
  void Clear();

  // Where `block`, which was taken, is read from: its page in the hot overlay
  // if there is one, else its cold slot.
  const Slot& slot(int block) const { return slots_[block]; }
  BlockMask hot_blocks() const { return hot_; }
  // Whether `blocks`, all taken, are still read from the same places in `map`.
  bool SameIn(const ChunkMap& map, BlockMask blocks) const;

  // Copies bytes [begin, end) of the chunk to `out`. False when a frame is
  // damaged or outside. All blocks of the range must have been taken.
  bool Copy(size_t begin, size_t end, char* out, ReadCost* cost);
  // The same after a Copy that failed, by way of `own`, a chunk that nobody
  // else writes to. Takes back what that Copy counted as damage.
  bool CopyVia(char* own, size_t begin, size_t end, char* out, ReadCost* cost);
  // Copies `blocks`, all taken, to their own places in the chunk at `chunk`,
  // decompressing each frame once. Returns the blocks in frames that are
  // damaged or outside.
  BlockMask CopyBlocks(BlockMask blocks, char* chunk, ReadCost* cost);
  // Whether Copy or CopyBlocks met a frame that is outside.
  bool met_outside() const { return met_outside_; }
  // Whether all of `blocks` are in pages.
  bool AllPages(BlockMask blocks) const;
  // The frame whose content the last Copy left in the thread's
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
  bool met_outside_ = false;
  const Frame* frame_in_scratch_ = nullptr;
  std::array<Slot, kBlocksPerChunk> slots_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_REFS_H_
