// One chunk's part of a write or trim, on its way to being committed.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_PIECE_WRITE_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_PIECE_WRITE_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "server/engine/content/chunk_map.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/frame.h"
#include "server/engine/memory/arena.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

// What the blocks of one chunk become. PieceWriter::Discard frees the pages and
// frames in `fresh` that were not committed. Not thread-safe.
struct PieceWrite {
  explicit PieceWrite(Arena& arena) : base(arena) {}

  uint64_t chunk = 0;
  size_t begin = 0;  // Within the chunk, in bytes.
  size_t end = 0;
  const char* data = nullptr;  // The bytes for [begin, end).
  // What a block that becomes all zeroes is to be.
  Slot zero;
  int max_span = 1;  // Blocks in the longest frame that is made of it.
  // Take memory beyond the limit rather than fail.
  bool must_succeed = false;
  // Fail when the volume has become smaller than the piece's end.
  bool check_end = true;

  BlockMask touched = 0;  // All blocks in the range.
  BlockMask partial = 0;  // Those not written whole; at most two.
  BlockMask dirty = 0;    // Those whose fresh page goes to the hot cache.
  std::array<Slot, kBlocksPerChunk> fresh = {};
  ChunkRefs base;  // What the partial blocks were made from.

  void SetRange(uint64_t chunk_number, size_t begin_bytes, size_t end_bytes) {
    chunk = chunk_number;
    begin = begin_bytes;
    end = end_bytes;
    touched = BlocksIn(begin, end);
    if (begin % kBlockBytes != 0) partial |= BlocksIn(begin, begin + 1);
    if (end % kBlockBytes != 0) partial |= BlocksIn(end - 1, end);
  }
  const char* DataOf(int block) const {
    return data + (block * kBlockBytes - begin);
  }
  uint64_t EndOffset() const { return chunk * kChunkBytes + end; }
  // True when all that it writes is holes.
  bool OnlyHoles() const {
    for (const Slot& slot : fresh) {
      if (slot.kind != SlotKind::kHole) return false;
    }
    return true;
  }
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_PIECE_WRITE_H_
