// Puts chunks into a volume in the form in which another one stored them.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_ENCODED_WRITER_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_ENCODED_WRITER_H_

#include "absl/types/span.h"
#include "server/engine/background/engine_parts.h"
#include "server/engine/background/reclaimer.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/frame.h"
#include "server/engine/content/home.h"
#include "server/engine/content/refusal.h"
#include "server/engine/types/blocks.h"
#include "server/engine/types/encoded_chunk.h"
#include "server/engine/volume/piece_write.h"
#include "server/engine/volume/piece_writer.h"

namespace ramvol::engine {

// Only a frame as stored (EncodedRun) is taken on trust. Each other one is
// decompressed, and kept as it is if it is exactly its blocks. Blocks of zeroes
// become holes, repeated patterns are recognised, and what this volume would
// not hold that way (raw blocks that are not settled, frames longer than its
// longest, any frame without compression) goes the way of a write. Background
// threads help.
//
// Thread-safe. Borrows `pieces`, `reclaimer` and what `parts` refer to, which
// must outlive it.
class EncodedWriter {
 public:
  EncodedWriter(const VolumeParts& parts, PieceWriter& pieces,
                Reclaimer& reclaimer)
      : parts_(parts), pieces_(pieces), reclaimer_(reclaimer) {}

  // Makes the content of each of `chunks`, all different, that of its runs.
  // Each chunk changes as a whole; after a failure some have. kCorrupt, with
  // the chunk, when its runs are not in order, do not hold all of its blocks,
  // or a frame that is not as stored is not that of its blocks. What lies past
  // the volume's end is left out. As Writer::Write for the rest.
  Refusal Write(absl::Span<EncodedChunk> chunks);

  // Puts the content of `chunk` in the place of `frame`, which is outside, in
  // the map at `home`. Blocks that are the same in the chunk at `below`, if
  // there is one, are shared with it. Exceeds the memory limit rather than
  // fail. kCorrupt as Write.
  Refusal ReadIn(const Frame& frame, const Home& home, const Home& below,
                 EncodedChunk* chunk);

 private:
  Refusal WriteOne(EncodedChunk* chunk);
  // Fills what has to be known of `content`, of kChunkBytes: not frames that
  // are as stored and may stay, unless others are compared with them. False
  // when a run is damaged that cannot stay as it is.
  bool DecodeRuns(EncodedChunk* chunk, int whole_blocks, char* content) const;
  // Whether the volume may have the frame of `run` at all.
  bool MayKeep(const EncodedRun& run) const;
  // The blocks that can stay, see EncodedChunk::keeps_same.
  BlockMask SameBlocks(const EncodedChunk& chunk, const char* content) const;
  // Those that are the same in `refs`, which has all blocks.
  BlockMask SameBlocksIn(ChunkRefs& refs, const EncodedChunk& chunk,
                         const char* content) const;
  // Makes pages and frames of `blocks` of the content.
  Refusal Prepare(const EncodedChunk& chunk, const char* content,
                  BlockMask blocks, int whole_blocks, PieceWrite* piece);
  // Plans how the content of `run`, which is at `content`, is stored: as the
  // frame it is, or in `*piece` as data.
  bool KeepsFrame(const EncodedRun& run, const char* content,
                  PieceWrite* piece) const;
  Refusal AddPages(BlockMask blocks, PieceWrite* piece);
  Refusal AddFrame(const EncodedRun& run, bool settled, PieceWrite* piece);

  const VolumeParts parts_;
  PieceWriter& pieces_;
  Reclaimer& reclaimer_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_ENCODED_WRITER_H_
