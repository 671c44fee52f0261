// The counters of one volume.
#ifndef RAMVOL_SERVER_ENGINE_COUNTERS_VOLUME_COUNTERS_H_
#define RAMVOL_SERVER_ENGINE_COUNTERS_VOLUME_COUNTERS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/counters.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/layer.h"
#include "server/engine/content/packer.h"
#include "server/engine/content/refusal.h"
#include "server/engine/counters/totals.h"
#include "server/engine/types/stats.h"

namespace ramvol::engine {

// Counts for one volume, and for the engine's totals where these have such a
// counter.
//
// Thread-safe. Counting takes no lock and allocates nothing. Borrows `totals`,
// which must outlive it.
class VolumeCounters final : public WorkCounts {
 public:
  explicit VolumeCounters(Totals& totals) : totals_(totals) {}

  VolumeCounters(const VolumeCounters&) = delete;
  VolumeCounters& operator=(const VolumeCounters&) = delete;

  // Counts an operation that ended, and its `bytes` if it succeeded.
  void CountOperation(Operation operation, int64_t took_ns, uint64_t bytes,
                      Cause cause);
  // Counts blocks that a read found in the hot cache, and those that it did
  // not.
  void CountLookups(int hits, int misses);
  void CountMergedFrames(int frames) override;
  void CountSplitFrames(int frames) override;
  void CountCopiedNodes(int nodes) override;
  void AddReadCost(const ReadCost& cost) override;
  void AddPackCost(const PackCost& cost) override;

  // The number of reads and writes.
  uint64_t data_operations() const;
  // See VolumeUse::operations.
  uint64_t uses() const;
  // Sets the counters in `stats`, and nothing else.
  void FillIn(VolumeStats* stats) const;

  Totals& totals() const { return totals_; }

 private:
  enum class Counter {
    // These follow the order of Operation.
    kReads,
    kWrites,
    kTrims,
    kZeroes,
    kFlushes,
    kExtents,
    // These, too; flushes and extents have no bytes.
    kReadBytes,
    kWrittenBytes,
    kTrimmedBytes,
    kZeroedBytes,
    kFailures,
    kReadNs,
    kWriteNs,
    kHits,
    kMisses,
    kMergedFrames,
    kSplitFrames,
    kCompressNs,
    kDecompressNs,
    kCompressions,
    kDecompressions,
    kCorruptFrames,
    kCount,
  };

  Totals& totals_;
  Counters<Counter> counters_;
  std::array<std::array<std::atomic<uint64_t>, kErrorReasons.size()>,
             kOperations>
      errors_ = {};
};

// The reason that clients see, one of kErrorReasons.
std::string_view ReasonOf(Cause cause);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_COUNTERS_VOLUME_COUNTERS_H_
