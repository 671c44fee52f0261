// Turning blocks into frames: which blocks are compressed together, and how
// they are stored.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_PACKER_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_PACKER_H_

#include <array>
#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"
#include "base/duration_histogram.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/frame.h"
#include "server/engine/memory/account.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

// The sets of `blocks` that are compressed together, each within one aligned
// run of at most `max_span` blocks: all of a run's blocks when they are most of
// it, else those of its halves on their own, down to runs of `min_span`.
using Groups = absl::InlinedVector<BlockMask, 4>;
Groups Partition(BlockMask blocks, int min_span, int max_span);

// The content of `blocks` in one piece. `first` is where their first one is,
// and each lies as far behind it as in the chunk: right there when they are
// neighbours, else copied to the thread's Scratch::gathered.
const char* Gather(BlockMask blocks, const char* first);

// What compressing cost; added up by the caller, but for `durations`.
struct PackCost {
  explicit PackCost(DurationHistogram& each) : durations(each) {}

  DurationHistogram& durations;
  int64_t compressions = 0;
  int64_t compress_ns = 0;
};

// Compresses `blocks`, whose content is at `content` one after the other, and
// makes a frame of it. `*frame` is nullptr when they do not compress enough.
// Returns false when memory is short.
bool PackGroup(Account& account, Priority priority, BlockMask blocks,
               const char* content, int level, Frame** frame, PackCost* cost);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_PACKER_H_
