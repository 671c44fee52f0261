#include "server/engine/counters/volume_counters.h"

#include <algorithm>
#include <cstddef>

#include "gtest/gtest.h"
#include "server/engine/content/refusal.h"
#include "server/engine/counters/totals.h"
#include "server/engine/types/stats.h"

namespace ramvol::engine {
namespace {

class VolumeCountersTest : public ::testing::Test {
 protected:
  VolumeStats Stats() const {
    VolumeStats stats;
    counters_.FillIn(&stats);
    return stats;
  }

  Totals totals_;
  VolumeCounters counters_{totals_};
};

TEST_F(VolumeCountersTest, CountsEachOperationAndItsBytes) {
  counters_.CountOperation(Operation::kRead, 10, 100, Cause::kNone);
  counters_.CountOperation(Operation::kWrite, 20, 200, Cause::kNone);
  counters_.CountOperation(Operation::kTrim, 30, 300, Cause::kNone);
  counters_.CountOperation(Operation::kWriteZeroes, 40, 400, Cause::kNone);
  counters_.CountOperation(Operation::kFlush, 50, 0, Cause::kNone);
  counters_.CountOperation(Operation::kExtents, 60, 0, Cause::kNone);
  const VolumeStats stats = Stats();
  EXPECT_EQ(stats.read_operations, 1u);
  EXPECT_EQ(stats.write_operations, 1u);
  EXPECT_EQ(stats.trim_operations, 1u);
  EXPECT_EQ(stats.zero_operations, 1u);
  EXPECT_EQ(stats.flush_operations, 1u);
  EXPECT_EQ(stats.extents_operations, 1u);
  EXPECT_EQ(stats.read_bytes, 100u);
  EXPECT_EQ(stats.written_bytes, 200u);
  EXPECT_EQ(stats.trimmed_bytes, 300u);
  EXPECT_EQ(stats.zeroed_bytes, 400u);
  EXPECT_EQ(stats.read_ns, 10u);
  EXPECT_EQ(stats.write_ns, 20u);
  EXPECT_EQ(stats.failed_operations, 0u);
  EXPECT_EQ(counters_.data_operations(), 2u);
  EXPECT_EQ(totals_.counts.Sum(Total::kReadBytes), 100u);
  EXPECT_EQ(totals_.counts.Sum(Total::kWrittenBytes), 200u);
}

TEST_F(VolumeCountersTest, CountsFailuresByOperationAndReason) {
  const Cause causes[] = {Cause::kDeleted,     Cause::kPastEnd,
                          Cause::kShrunk,      Cause::kReadOnly,
                          Cause::kTooLong,     Cause::kVolumeLimit,
                          Cause::kServerLimit, Cause::kCorrupt,
                          Cause::kSnapshot,    Cause::kDamaged};
  for (const Cause cause : causes) {
    counters_.CountOperation(Operation::kWrite, 1, 4096, cause);
  }
  const VolumeStats stats = Stats();
  EXPECT_EQ(stats.write_operations, 0u);
  EXPECT_EQ(stats.written_bytes, 0u);
  EXPECT_EQ(stats.failed_operations, std::size(causes));
  const auto& errors = stats.errors[static_cast<size_t>(Operation::kWrite)];
  for (size_t i = 0; i < kErrorReasons.size(); ++i) {
    const uint64_t expected = kErrorReasons[i] == reason::kPastEnd ? 2
                              : i + 1 < kErrorReasons.size()       ? 1
                                                                   : 0;
    EXPECT_EQ(errors[i], expected) << kErrorReasons[i];
    EXPECT_EQ(totals_.errors[i], expected) << kErrorReasons[i];
  }
}

TEST_F(VolumeCountersTest, AddsToTheTotalsOfTheEngine) {
  counters_.CountLookups(3, 5);
  counters_.CountMergedFrames(2);
  counters_.CountSplitFrames(1);
  const VolumeStats stats = Stats();
  EXPECT_EQ(stats.cache_hits, 3u);
  EXPECT_EQ(stats.cache_misses, 5u);
  EXPECT_EQ(stats.merged_frames, 2u);
  EXPECT_EQ(stats.split_frames, 1u);
  EXPECT_EQ(totals_.counts.Sum(Total::kHits), 3u);
  EXPECT_EQ(totals_.counts.Sum(Total::kMisses), 5u);
  EXPECT_EQ(totals_.counts.Sum(Total::kMergedFrames), 2u);
  EXPECT_EQ(totals_.counts.Sum(Total::kSplitFrames), 1u);
}

}  // namespace
}  // namespace ramvol::engine
