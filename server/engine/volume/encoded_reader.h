// Takes chunks out of a volume in the form in which they are stored.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_ENCODED_READER_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_ENCODED_READER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "server/engine/background/engine_parts.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/refusal.h"
#include "server/engine/types/encoded_chunk.h"
#include "server/engine/volume/run_plan.h"

namespace ramvol::engine {

// Thread-safe. Borrows what `parts` refer to, which must outlive it.
class EncodedReader {
 public:
  explicit EncodedReader(const VolumeParts& parts) : parts_(parts) {}

  // Adds the chunks of [first, last] that are not holes to `*found`, in order,
  // until there are `most` or more of them. Returns where to go on; nullopt at
  // the end. Dirty blocks are compressed first, so that they are frames, and
  // what is outside is read in.
  std::optional<uint64_t> List(uint64_t first, uint64_t last, size_t most,
                               std::vector<StoredChunk>* found) const;

  // Fills `*out`, whose bytes lie in its buffer. kCorrupt when a frame that has
  // to be decompressed is damaged; kDeleted.
  Refusal Read(uint64_t chunk, EncodedForm form, EncodedChunk* out) const;

 private:
  struct Taken {
    ChunkRefs refs;
    RunPlan plan;
  };
  Refusal Take(uint64_t chunk, Taken* taken) const;
  // Flushes what is dirty of the chunk, and reads in what is outside.
  void MakeReady(uint64_t chunk, StoredChunk* stored) const;
  // Adds a run to `*out`, whose bytes begin at `*at`.
  bool AddRun(const PlannedRun& planned, ChunkRefs& refs, char** at,
              EncodedChunk* out) const;
  bool AddWhole(EncodedForm form, ChunkRefs& refs, EncodedChunk* out) const;

  const VolumeParts parts_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_ENCODED_READER_H_
