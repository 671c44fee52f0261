// What reads of a volume do.
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
// it. What a small read had to decompress stays in the hot cache; a large frame
// of which parts are read again and again is asked to be split.
//
// Thread-safe. Borrows what `parts` name and `reclaimer`, which must outlive
// it.
class Reader {
 public:
  // Longer reads neither use up the hot cache nor count as random.
  static constexpr size_t kMaxSmallReadBytes = 16384;

  Reader(const VolumeParts& parts, Reclaimer& reclaimer)
      : parts_(parts), reclaimer_(reclaimer) {}

  // Fills `out` with the bytes from `offset` on, which lie within the volume.
  // kDeleted, kShrunk, or kCorrupt; `out` is unspecified then. Tells `clock`
  // when it begins to decompress.
  Refusal Read(uint64_t offset, absl::Span<char> out, ReadClock* clock);

  // Sets `*extents` to those of [offset, offset + length), at most
  // `max_extents` of them. kDeleted.
  Refusal FindExtents(uint64_t offset, uint64_t length, size_t max_extents,
                      Extents* extents) const;

 private:
  // Reads bytes [begin, end) of a chunk.
  Refusal ReadPiece(uint64_t chunk, size_t begin, size_t end, char* out,
                    bool sequential, ReadClock* clock);
  // Takes references for `blocks`, and notes that they were read.
  Refusal TakeRefs(uint64_t chunk, BlockMask blocks, uint64_t end, bool small,
                   ChunkRefs* refs) const;
  // Keeps `blocks` of a frame that was decompressed to `content`, if there is
  // memory for them without taking any back.
  void CacheBlocks(uint64_t chunk, const Frame& frame, const char* content,
                   BlockMask blocks);

  const VolumeParts parts_;
  Reclaimer& reclaimer_;
  // Where the last read ended, to recognise sequential ones. A hint.
  std::atomic<uint64_t> last_read_end_{0};
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_READER_H_
