#include "server/service/cost_estimate.h"

#include "gtest/gtest.h"

namespace ramvol::service {
namespace {

constexpr int kEnough = 400;

TEST(CostEstimateTest, WhatIsNotKnownYetIsCheap) {
  EXPECT_TRUE(CostEstimate().IsCheap(256));
}

TEST(CostEstimateTest, FollowsTheMedianBothWays) {
  CostEstimate cost;
  for (int i = 0; i < kEnough; ++i) cost.Note(80'000);
  EXPECT_FALSE(cost.IsCheap(1));
  for (int i = 0; i < kEnough; ++i) cost.Note(10'000);
  EXPECT_TRUE(cost.IsCheap(4));
  EXPECT_FALSE(cost.IsCheap(8));
}

TEST(CostEstimateTest, AThreadThatLostItsCoreDoesNotCount) {
  CostEstimate cost;
  for (int i = 0; i < kEnough; ++i) {
    cost.Note(i % 4 == 0 ? 5'000'000 : 10'000);
  }
  EXPECT_TRUE(cost.IsCheap(3));
}

}  // namespace
}  // namespace ramvol::service
