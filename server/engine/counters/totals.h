// What an engine counts for all of its volumes together, also for those that
// were deleted since.
#ifndef RAMVOL_SERVER_ENGINE_COUNTERS_TOTALS_H_
#define RAMVOL_SERVER_ENGINE_COUNTERS_TOTALS_H_

#include <array>

#include "base/counters.h"
#include "base/duration_histogram.h"
#include "server/engine/types/stats.h"

namespace ramvol::engine {

enum class Total {
  kHits,    // Blocks.
  kMisses,  // Blocks.
  kThrottledWrites,
  kMergedFrames,
  kSplitFrames,
  kRewrittenFrames,
  kCorruptFrames,
  kCount,
};

// Thread-safe; recording takes no lock and no memory.
struct Totals {
  Counters<Total> counts;
  std::array<DurationHistogram, kOperations> operations;
  DurationHistogram compressions;
  DurationHistogram decompressions;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_COUNTERS_TOTALS_H_
