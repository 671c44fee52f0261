// One chunk's part of a write or trim, on its way to being committed.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_PIECE_WRITE_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_PIECE_WRITE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "server/engine/content/chunk_map.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/frame.h"
#include "server/engine/content/layer.h"
#include "server/engine/memory/arena.h"
#include "server/engine/types/blocks.h"
#include "server/engine/types/volume_types.h"

namespace ramvol::engine {

// The new content of blocks of one chunk. PieceWriter::Discard frees the pages
// and frames in `fresh` that were not committed. Not thread-safe.
struct PieceWrite {
  PieceWrite(Arena& arena, std::shared_ptr<Layer> its_layer)
      : layer(std::move(its_layer)), base(arena) {}

  // What `fresh` is charged to.
  const std::shared_ptr<Layer> layer;

  uint64_t chunk = 0;
  size_t begin = 0;  // Within the chunk, in bytes.
  size_t end = 0;
  const char* data = nullptr;  // The bytes for [begin, end).
  BufferOf whose = BufferOf::kCaller;
  // The slot of blocks that become all zeroes: a hole, or a pattern.
  Slot zero;
  int max_span = 1;  // Blocks in the longest frame to make.
  // Exceed the memory limit rather than fail.
  bool must_succeed = false;
  // Fail if the volume has become smaller than the piece's end.
  bool check_end = true;

  BlockMask touched = 0;  // All blocks in the range.
  BlockMask partial = 0;  // Blocks not written as a whole; at most two.
  BlockMask dirty = 0;    // Blocks whose new page goes to the hot cache.
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
  // Whether it writes nothing but holes.
  bool OnlyHoles() const {
    for (const Slot& slot : fresh) {
      if (slot.kind != SlotKind::kHole) return false;
    }
    return true;
  }
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_PIECE_WRITE_H_
