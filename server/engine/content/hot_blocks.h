// Which blocks of a chunk are hot, and their pages.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_HOT_BLOCKS_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_HOT_BLOCKS_H_

#include <array>

#include "server/engine/memory/memory_types.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

// `dirty` counts only for blocks that are present. Each present block owns a
// reference to its page, whose content never changes.
struct HotBlocks {
  BlockMask present = 0;
  BlockMask dirty = 0;
  std::array<PageId, kBlocksPerChunk> pages = {};

  friend bool operator==(const HotBlocks&, const HotBlocks&) = default;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_HOT_BLOCKS_H_
