// Reads of a volume.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_READER_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_READER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "server/engine/background/engine_parts.h"
#include "server/engine/background/reclaimer.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/frame.h"
#include "server/engine/content/refusal.h"
#include "server/engine/counters/read_clock.h"
#include "server/engine/types/blocks.h"
#include "server/engine/types/volume_types.h"

namespace ramvol::engine {

// Takes references under a chunk's lock, then copies or decompresses without
// it. Blocks that a small read had to decompress go to the hot cache. A large
// frame whose parts are read repeatedly is queued to be split.
//
// Thread-safe. Borrows `reclaimer` and what `parts` refer to, which must
// outlive it.
class Reader {
 public:
  // Longer reads do not go to the hot cache, nor do they split frames.
  static constexpr size_t kMaxSmallReadBytes = 16384;

  Reader(const VolumeParts& parts, Reclaimer& reclaimer)
      : parts_(parts), reclaimer_(reclaimer) {}

  // Fills `out` with the bytes from `offset` on. The range must lie within the
  // volume. kDeleted, kShrunk, or kCorrupt; `out` is unspecified then. Tells
  // `clock` when decompression begins.
  Refusal Read(uint64_t offset, absl::Span<char> out, ReadClock* clock,
               BufferOf whose = BufferOf::kCaller);

  // Sets `*extents` to the first `max_extents` extents of [offset, offset +
  // length). kDeleted.
  Refusal FindExtents(uint64_t offset, uint64_t length, size_t max_extents,
                      Extents* extents) const;

 private:
  // Reads bytes [begin, end) of a chunk.
  Refusal ReadPiece(uint64_t chunk, size_t begin, size_t end, char* out,
                    BufferOf whose, bool sequential, ReadClock* clock);
  // Takes references for `blocks`, and notes the read for cache and splitting.
  Refusal TakeRefs(uint64_t chunk, BlockMask blocks, uint64_t end, bool small,
                   ChunkRefs* refs) const;
  // Puts `blocks` of a frame, decompressed at `content`, into the hot cache, as
  // far as memory is free without reclaiming any.
  void CacheBlocks(uint64_t chunk, const Frame& frame, const char* content,
                   BlockMask blocks);

  const VolumeParts parts_;
  Reclaimer& reclaimer_;
  // Where the last read ended: a hint to recognise sequential reads.
  std::atomic<uint64_t> last_read_end_{0};
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_READER_H_
