#include "nbd_bridge/buffer_budget.h"

#include <cstddef>

#include "gtest/gtest.h"

namespace ramvol::testing {
namespace {

using nbd::BufferBudget;

constexpr size_t kMib = size_t{1} << 20;

// What a connection comes to hold that takes `step` bytes as often as it may.
size_t Grab(BufferBudget& budget, size_t step) {
  size_t held = 0;
  while (budget.Room(held) >= step) {
    budget.Take(step);
    held += step;
  }
  return held;
}

TEST(BufferBudgetTest, OneThatTakesWhatItCanLeavesAsMuchForAnother) {
  BufferBudget budget(192 * kMib);
  const size_t held = Grab(budget, 512);
  EXPECT_GT(held, 63 * kMib);
  EXPECT_LE(held, 64 * kMib);
  EXPECT_GT(budget.Room(0), 63 * kMib);
}

TEST(BufferBudgetTest, ManyThatTakeWhatTheyCanLeaveAReserve) {
  constexpr size_t kLimit = 64 * kMib;
  BufferBudget budget(kLimit);
  size_t held = 0;
  for (int i = 0; i < 1000; ++i) held += Grab(budget, 512);
  EXPECT_LE(held, kLimit + 1000 * BufferBudget::kReservedBytes);
  EXPECT_EQ(budget.Room(0), BufferBudget::kReservedBytes);
  EXPECT_EQ(budget.Room(BufferBudget::kReservedBytes), 0u);
  budget.Give(held);
  EXPECT_EQ(budget.Room(0), kLimit / 2);
  EXPECT_EQ(budget.used_bytes(), 0);
}

}  // namespace
}  // namespace ramvol::testing
