// Prepares and commits one chunk's part of a write or trim.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_PIECE_WRITER_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_PIECE_WRITER_H_

#include <cstddef>

#include "server/engine/background/engine_parts.h"
#include "server/engine/background/reclaimer.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/content.h"
#include "server/engine/content/refusal.h"
#include "server/engine/types/blocks.h"
#include "server/engine/volume/piece_write.h"

namespace ramvol::engine {

// Preparing a piece does everything that can fail for memory. Then the piece is
// committed or discarded. A request prepares all of its pieces before it
// commits any.
//
// Thread-safe, as long as only one thread at a time uses a piece. Borrows
// `reclaimer` and what `parts` refer to, which must outlive it.
class PieceWriter {
 public:
  PieceWriter(const VolumeParts& parts, Reclaimer& reclaimer)
      : parts_(parts), reclaimer_(reclaimer) {}

  // Makes pages and frames of the piece's data. `pieces` is the number of
  // pieces that the request prepares together.
  Refusal Prepare(size_t pieces, PieceWrite* piece);
  // The same for a piece that only writes zeroes, as piece->zero.
  Refusal PrepareZeroes(PieceWrite* piece);
  // Commits the piece. Fails only if the volume was deleted or shrunk meanwhile
  // (kDeleted, kShrunk), or if a frame that has to be read again is damaged
  // (kCorrupt).
  Refusal Commit(PieceWrite* piece);
  // Frees what was prepared and not committed.
  void Discard(PieceWrite* piece);

 private:
  // Checks, and makes, room for the metadata of `pieces` chunks.
  Refusal Admit(size_t pieces, Layer& layer);
  Refusal PrepareWhole(PieceWrite* piece);
  Refusal PackWhole(BlockMask blocks, PieceWrite* piece);
  Refusal PageWhole(BlockMask blocks, PieceWrite* piece);
  // Takes references to the old content of the partial blocks. kShrunk if the
  // volume is smaller than `end`.
  Refusal TakeBase(uint64_t end, PieceWrite* piece);
  // Makes the partial blocks from their old content and the data.
  Refusal PreparePartial(PieceWrite* piece);
  Refusal FillPartial(int block, PieceWrite* piece);
  // Puts a partial block's new content into a page.
  Refusal StorePartial(int block, const char* content, PieceWrite* piece);
  // Applies the piece if its base is unchanged. Else takes a new base and
  // returns false.
  bool ApplyIfSame(PieceWrite* piece, ChunkMap& map, Replaced* replaced);
  void Apply(PieceWrite* piece, ChunkMap& map, Replaced* replaced);

  const VolumeParts parts_;
  Reclaimer& reclaimer_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_PIECE_WRITER_H_
