#include "server/engine/counters/add_totals.h"

#include <atomic>
#include <cstddef>

namespace ramvol::engine {

void AddTotals(const Totals& totals, EngineStats* stats) {
  const auto sum = [&](Total total) { return totals.counts.Sum(total); };
  stats->hot_cache_hits = sum(Total::kHits);
  stats->hot_cache_misses = sum(Total::kMisses);
  stats->throttled_writes = sum(Total::kThrottledWrites);
  stats->merged_frames = sum(Total::kMergedFrames);
  stats->split_frames = sum(Total::kSplitFrames);
  stats->rewritten_frames = sum(Total::kRewrittenFrames);
  stats->corrupt_frames = sum(Total::kCorruptFrames);
  stats->copied_nodes = sum(Total::kCopiedNodes);
  stats->read_bytes = sum(Total::kReadBytes);
  stats->written_bytes = sum(Total::kWrittenBytes);
  for (size_t i = 0; i < kErrorReasons.size(); ++i) {
    stats->errors[i] = totals.errors[i].load(std::memory_order_relaxed);
  }
  for (size_t i = 0; i < kOperations; ++i) {
    stats->operations[i] = totals.operations[i].Get();
  }
  stats->compressions = totals.compressions.Get();
  stats->decompressions = totals.decompressions.Get();
  stats->pauses = totals.pauses.Get();
}

}  // namespace ramvol::engine
