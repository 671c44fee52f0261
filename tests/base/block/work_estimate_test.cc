#include "base/block/work_estimate.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace ramvol::block {
namespace {

void Learn(WorkEstimate* estimate, int64_t took_ns) {
  for (int i = 0; i < 200; ++i) estimate->Note(took_ns);
}

TEST(WorkEstimateTest, WakesForManyRequestsThatTakeLong) {
  WorkEstimate estimate;
  EXPECT_FALSE(estimate.WorthWaking(1000));
  Learn(&estimate, 10'000);
  EXPECT_FALSE(estimate.WorthWaking(0));
  EXPECT_FALSE(estimate.WorthWaking(4));
  EXPECT_TRUE(estimate.WorthWaking(40));
  Learn(&estimate, 500);
  EXPECT_FALSE(estimate.WorthWaking(64));
}

TEST(WorkEstimateTest, SharesWhatTakesLongerThanToMoveIt) {
  WorkEstimate estimate;
  EXPECT_FALSE(estimate.WorthSharing());
  Learn(&estimate, 8'000);
  EXPECT_TRUE(estimate.WorthSharing());
  Learn(&estimate, 500);
  EXPECT_FALSE(estimate.WorthSharing());
}

}  // namespace
}  // namespace ramvol::block
