#include "server/engine/memory/memory_account.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "server/engine/memory/memory_types.h"

namespace ramvol::engine {
namespace {

constexpr uint64_t kLimit = uint64_t{1} << 30;
constexpr uint64_t kReserve = kLimit / 128;

class MemoryAccountTest : public ::testing::Test {
 protected:
  // Takes all but the reserve.
  void Fill() {
    ASSERT_TRUE(account_.TryCharge(kLimit - kReserve, Priority::kNormal));
  }

  MemoryAccount account_{kLimit};
};

TEST_F(MemoryAccountTest, KeepsTheReserveForWorkThatGivesMemoryBack) {
  Fill();
  EXPECT_FALSE(account_.TryCharge(1, Priority::kNormal));
  EXPECT_FALSE(account_.HasRoom(1, Priority::kNormal));
  EXPECT_TRUE(account_.HasRoom(kReserve, Priority::kReclaim));
  EXPECT_FALSE(account_.TryCharge(kReserve + 1, Priority::kReclaim));
  EXPECT_TRUE(account_.TryCharge(kReserve, Priority::kReclaim));
  EXPECT_EQ(account_.used_bytes(), kLimit);
  EXPECT_FALSE(account_.TryCharge(1, Priority::kReclaim));
}

TEST_F(MemoryAccountTest, MergingMayBorrowHalfOfTheReserve) {
  Fill();
  EXPECT_TRUE(account_.TryCharge(kReserve / 2, Priority::kMerge));
  EXPECT_FALSE(account_.TryCharge(1, Priority::kMerge));
  EXPECT_TRUE(account_.TryCharge(1, Priority::kReclaim));
}

TEST_F(MemoryAccountTest, WhatIsGivenBackNextRepaysALoan) {
  Fill();
  ASSERT_TRUE(account_.TryCharge(1000, Priority::kReclaim));
  EXPECT_EQ(account_.borrowed_bytes(), 1000u);
  account_.Credit(600);
  EXPECT_EQ(account_.borrowed_bytes(), 400u);
  account_.Credit(600);
  EXPECT_EQ(account_.borrowed_bytes(), 0u);
  EXPECT_TRUE(account_.TryCharge(200, Priority::kNormal));
  EXPECT_FALSE(account_.TryCharge(1, Priority::kNormal));
}

TEST_F(MemoryAccountTest, WhatIsGuaranteedNeverFails) {
  EXPECT_TRUE(account_.TryCharge(2 * kLimit, Priority::kGuaranteed));
  EXPECT_FALSE(account_.TryCharge(0, Priority::kNormal));
  EXPECT_TRUE(account_.TryCharge(0, Priority::kGuaranteed));
}

TEST_F(MemoryAccountTest, MemoryThatIsBeingReleasedCountsUntilItIsGone) {
  ASSERT_TRUE(account_.TryCharge(1000, Priority::kNormal));
  account_.AddRetained(1000);
  account_.StartRelease(600);
  EXPECT_EQ(account_.retained_bytes(), 400u);
  EXPECT_EQ(account_.reclaimable_bytes(), 1000u);
  EXPECT_EQ(account_.used_bytes(), 1000u);
  account_.FinishRelease(600, /*given_back=*/true);
  EXPECT_EQ(account_.used_bytes(), 400u);
  account_.StartRelease(400);
  account_.FinishRelease(400, /*given_back=*/false);
  EXPECT_EQ(account_.retained_bytes(), 400u);
  EXPECT_EQ(account_.used_bytes(), 400u);
}

}  // namespace
}  // namespace ramvol::engine
