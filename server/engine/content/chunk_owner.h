// A volume, as the background threads see it.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_OWNER_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_OWNER_H_

#include <cstdint>
#include <optional>

#include "server/engine/memory/slab_tenant.h"

namespace ramvol::engine {

// Why to rewrite a chunk's frames.
enum class RewriteReason {
  kMostlyDead,  // Most blocks of a frame were overwritten or trimmed.
  kReadApart,   // Parts of a large frame are read at random: split it.
  kCold,        // The chunk was not touched for a while: merge its frames.
  kAnyDead,     // Memory is short, and a trim left dead blocks in frames.
};

// A slab tenant whose keys are the numbers of its chunks: a volume, as the
// background threads see it.
//
// Thread-safe. The calls cannot fail: what cannot be done is left as it is.
class ChunkOwner : public SlabTenant {
 public:
  // Visits the first leaf that covers `chunk` or a later one. Merges its cold
  // chunks, and marks the others so that they are cold next time unless they
  // are touched. With `all_cold`, all are cold. Returns the chunk to go on
  // with, or nullopt at the end. The visits of one pass over all owners have
  // one number, `walk`: what owners share is visited once.
  virtual std::optional<uint64_t> MergeLeaf(uint64_t chunk, bool all_cold,
                                            uint32_t walk) = 0;
  // Changes with every read and write, so it tells whether the owner is in use.
  virtual uint64_t activity() const = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_OWNER_H_
