// Buffers that each thread keeps for compressing and decompressing.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_SCRATCH_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_SCRATCH_H_

#include <memory>

#include "server/engine/types/blocks.h"

namespace ramvol::engine {

// `content` belongs to ChunkRefs::Copy, the others to whoever compresses.
struct Scratch {
  char content[kChunkBytes];
  char chunk[kChunkBytes];
  char gathered[kChunkBytes];
  char compressed[kChunkBytes];
};

// The calling thread's. Not to be kept across calls that use the same part.
inline Scratch& ThreadScratch() {
  thread_local const std::unique_ptr<Scratch> scratch(new Scratch);
  return *scratch;
}

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_SCRATCH_H_
