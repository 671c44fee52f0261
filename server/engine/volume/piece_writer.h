// Preparing and committing one chunk's part of a write, or of a trim.
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

// A piece is prepared, with everything that can fail for memory; then it is
// committed, or discarded. A request of several pieces prepares all of them
// before it commits any.
//
// Thread-safe, as long as each piece is one thread's. Borrows what `parts` name
// and `reclaimer`, which must outlive it.
class PieceWriter {
 public:
  PieceWriter(const VolumeParts& parts, Reclaimer& reclaimer)
      : parts_(parts), reclaimer_(reclaimer) {}

  // Makes pages and frames of the data of `piece`, one of `pieces` that will
  // exist at the same time.
  Refusal Prepare(size_t pieces, PieceWrite* piece);
  // The same where all that is written is piece->zero.
  Refusal PrepareZeroes(PieceWrite* piece);
  // Makes the piece the chunk's content. Fails only for what the volume has
  // become meanwhile (kDeleted, kShrunk), or when a frame that it has to read
  // again is kCorrupt.
  Refusal Commit(PieceWrite* piece);
  // Frees what was prepared and not committed.
  void Discard(PieceWrite* piece);

 private:
  // Whether there is room for the metadata of `pieces` chunks.
  Refusal Admit(size_t pieces);
  Refusal PrepareWhole(PieceWrite* piece);
  Refusal PackWhole(BlockMask blocks, PieceWrite* piece);
  Refusal PageWhole(BlockMask blocks, PieceWrite* piece);
  // Takes references to what the partial blocks hold, up to `end`.
  Refusal TakeBase(uint64_t end, PieceWrite* piece);
  // Makes the partial blocks out of these and the data.
  Refusal PreparePartial(PieceWrite* piece);
  Refusal FillPartial(int block, PieceWrite* piece);
  // Puts a partial block's new content into a page.
  Refusal StorePartial(int block, const char* content, PieceWrite* piece);
  // True when the piece was applied; else its base was taken anew.
  bool ApplyIfSame(PieceWrite* piece, ChunkMap& map, Replaced* replaced);
  void Apply(PieceWrite* piece, ChunkMap& map, Replaced* replaced);

  const VolumeParts parts_;
  Reclaimer& reclaimer_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_PIECE_WRITER_H_
