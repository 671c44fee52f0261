// What background threads do to single chunks.
#ifndef RAMVOL_SERVER_ENGINE_BACKGROUND_CHUNK_WORKER_H_
#define RAMVOL_SERVER_ENGINE_BACKGROUND_CHUNK_WORKER_H_

#include "server/engine/content/chunk_owner.h"
#include "server/engine/content/home.h"

namespace ramvol::engine {

// Thread-safe. None of the calls changes what a reader sees, and none can fail:
// what cannot be done is left as it is, and a home that has lost its chunk is
// passed over.
class ChunkWorker {
 public:
  virtual ~ChunkWorker() = default;

  // Compresses the chunk's dirty blocks. Links the chunk's node again if the
  // caller took it out of its queue.
  virtual void Flush(const Home& home) = 0;
  // Drops the chunk's clean hot blocks, and links the node likewise.
  virtual void DropClean(const Home& home) = 0;
  // Rewrites the chunk's frames as `reason` asks, unless that gains nothing,
  // memory is short, or the chunk changes meanwhile.
  virtual void Rewrite(const Home& home, RewriteReason reason) = 0;
  // Moves its frames for which Arena::ShouldMove is true.
  virtual void MoveFrames(const Home& home) = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_BACKGROUND_CHUNK_WORKER_H_
