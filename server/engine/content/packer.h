// Turns blocks into frames: which blocks are compressed together, and how.
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

// Divides `blocks` into groups to compress together. Each group lies within one
// aligned run of at most `max_span` blocks. If more than half of a run is in
// `blocks`, these form one group; else the run is halved, down to `min_span`.
using Groups = absl::InlinedVector<BlockMask, 4>;
Groups Partition(BlockMask blocks, int min_span, int max_span);

// The content of `blocks` in one piece. `first` points to the first of them
// within the chunk's content. Returns `first` when the blocks are consecutive,
// else a copy in the thread's Scratch::gathered.
const char* Gather(BlockMask blocks, const char* first);
// The same, always as a copy.
const char* GatherCopy(BlockMask blocks, const char* first);

// What compressing cost. The caller adds it up, except `durations`, which
// counts at once.
struct PackCost {
  explicit PackCost(DurationHistogram& each) : durations(each) {}

  DurationHistogram& durations;
  int64_t compressions = 0;
  int64_t compress_ns = 0;
};

// Compresses `blocks`, whose content lies at `content` one after the other,
// into a new frame. Sets `*frame` to nullptr when they do not compress enough.
// False when memory is short.
bool PackGroup(Account& account, Priority priority, BlockMask blocks,
               const char* content, int level, Frame** frame, PackCost* cost);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_PACKER_H_
