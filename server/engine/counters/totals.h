// Counts for all volumes of an engine together, including deleted ones.
#ifndef RAMVOL_SERVER_ENGINE_COUNTERS_TOTALS_H_
#define RAMVOL_SERVER_ENGINE_COUNTERS_TOTALS_H_

#include <array>
#include <atomic>
#include <cstdint>

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
  kCopiedNodes,
  kReadBytes,
  kWrittenBytes,
  kCount,
};

// Thread-safe. Recording takes no lock and allocates nothing.
struct Totals {
  Counters<Total> counts;
  // In the order of kErrorReasons.
  std::array<std::atomic<uint64_t>, kErrorReasons.size()> errors = {};
  std::array<DurationHistogram, kOperations> operations;
  DurationHistogram compressions;
  DurationHistogram decompressions;
  DurationHistogram pauses;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_COUNTERS_TOTALS_H_
