// Finds where two roots differ, without looking at what they share.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_COMPARE_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_COMPARE_H_

#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/engine/content/index.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

struct ChangedChunk {
  uint64_t chunk;
  BlockMask blocks;  // Not 0. Other blocks read the same in both.
};

// Appends, in order, the chunks that may differ and lie in the first pair of
// leaves that differ and cover `chunk` or later ones. Returns the first chunk
// behind the pair; ~0 when there is none. The two must be different indexes.
uint64_t CompareLeaf(const Index& a, const Index& b, uint64_t chunk,
                     std::vector<ChangedChunk>* changed)
    ABSL_SHARED_LOCKS_REQUIRED(a.lock(), b.lock());

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_COMPARE_H_
