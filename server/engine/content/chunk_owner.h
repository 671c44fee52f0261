// What the hot cache and the background threads know of a volume.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_OWNER_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_OWNER_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "server/engine/memory/slab_tenant.h"

namespace ramvol::engine {

// Why a chunk's frames are to be made anew.
enum class RewriteReason {
  kMostlyDead,  // Most blocks of a frame were overwritten or trimmed.
  kReadApart,   // Parts of a large frame are read at random.
  kCold,        // Nobody touched the chunk for a while: merge what it holds.
  kAnyDead,     // Memory is short, and a trim left dead blocks in frames.
};

// A slab tenant whose keys are the numbers of its chunks.
//
// Thread-safe. None of the calls can fail: what cannot be done is left as it
// is.
class ChunkOwner : public SlabTenant,
                   public std::enable_shared_from_this<ChunkOwner> {
 public:
  // Compresses the chunk's dirty blocks. If the caller took the chunk's node
  // out of its queue, it is linked again.
  virtual void FlushChunk(uint64_t chunk) = 0;
  // Drops the chunk's clean hot blocks; likewise.
  virtual void DropClean(uint64_t chunk) = 0;
  // Makes the chunk's frames anew as `reason` asks for, unless that gains
  // nothing, memory is lacking, or somebody changes the chunk meanwhile.
  virtual void RewriteChunk(uint64_t chunk, RewriteReason reason) = 0;
  // Looks at the first leaf that covers `chunk` or a later one: merges what is
  // cold in it and marks the rest as cold from now on; with `all_cold`,
  // everything is. Returns the chunk to go on with, or nullopt at the end.
  virtual std::optional<uint64_t> MergeLeaf(uint64_t chunk, bool all_cold) = 0;
  // Changes with every read and write; tells whether the owner is in use.
  virtual uint64_t activity() const = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_OWNER_H_
