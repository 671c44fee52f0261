#include "base/cost_estimate.h"

#include "gtest/gtest.h"

namespace ramvol {
namespace {

constexpr int kEnough = 400;

TEST(CostEstimateTest, FollowsTheMedianBothWays) {
  CostEstimate cost;
  EXPECT_EQ(cost.ns(), 0);
  for (int i = 0; i < kEnough; ++i) cost.Note(80'000);
  EXPECT_NEAR(cost.ns(), 80'000, 8'000);
  for (int i = 0; i < kEnough; ++i) cost.Note(10'000);
  EXPECT_NEAR(cost.ns(), 10'000, 1'000);
}

TEST(CostEstimateTest, AThreadThatLostItsCoreDoesNotCount) {
  CostEstimate cost;
  for (int i = 0; i < kEnough; ++i) {
    cost.Note(i % 4 == 0 ? 5'000'000 : 10'000);
  }
  EXPECT_LT(cost.ns(), 15'000);
}

}  // namespace
}  // namespace ramvol
