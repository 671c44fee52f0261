// Per-thread buffers for compressing and decompressing.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_SCRATCH_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_SCRATCH_H_

#include <memory>

#include "server/engine/types/blocks.h"

namespace ramvol::engine {

// ChunkRefs::Copy uses `content`; the others are for compressing.
struct Scratch {
  char content[kChunkBytes];
  char chunk[kChunkBytes];
  char gathered[kChunkBytes];
  char compressed[kChunkBytes];
};

// The calling thread's buffers. A call that uses the same buffer overwrites it.
inline Scratch& ThreadScratch() {
  thread_local const std::unique_ptr<Scratch> scratch(new Scratch);
  return *scratch;
}

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_SCRATCH_H_
