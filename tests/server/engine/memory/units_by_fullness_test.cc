#include "server/engine/memory/units_by_fullness.h"

#include <cstdint>
#include <memory>

#include "gtest/gtest.h"
#include "server/engine/memory/memory_account.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/memory/unit_table.h"

namespace ramvol::engine {
namespace {

class UnitsByFullnessTest : public ::testing::Test {
 protected:
  UnitId Take() { return table_->Take(/*owner=*/1, Priority::kNormal); }

  MemoryAccount account_{uint64_t{1} << 30};
  const std::unique_ptr<UnitTable> table_ =
      *UnitTable::Create(16 << 20, &account_);
  UnitsByFullness units_{/*link=*/0, table_.get()};
  const UnitId a_ = Take();
  const UnitId b_ = Take();
  const UnitId c_ = Take();
};

TEST_F(UnitsByFullnessTest, IsEmptyAtFirst) {
  EXPECT_EQ(units_.Fullest(), 0u);
  EXPECT_EQ(units_.Emptiest(), 0u);
}

TEST_F(UnitsByFullnessTest, KnowsTheFullestAndTheEmptiest) {
  units_.Put(a_, 10, 80);
  units_.Put(b_, 75, 80);
  units_.Put(c_, 40, 80);
  EXPECT_EQ(units_.Fullest(), b_);
  EXPECT_EQ(units_.Emptiest(), a_);
}

TEST_F(UnitsByFullnessTest, MovesAUnitToItsNewLevel) {
  units_.Put(a_, 10, 80);
  units_.Put(b_, 75, 80);
  units_.Put(c_, 40, 80);
  units_.Put(a_, 75, 80);
  EXPECT_EQ(units_.Fullest(), a_) << "the last that came to its level";
  EXPECT_EQ(units_.Emptiest(), c_);
}

TEST_F(UnitsByFullnessTest, TheFullestStaysTheSameWhileItFillsUp) {
  units_.Put(a_, 71, 80);
  units_.Put(b_, 70, 80);
  ASSERT_EQ(units_.Fullest(), b_);
  units_.Put(a_, 79, 80);
  EXPECT_EQ(units_.Fullest(), b_);
}

TEST_F(UnitsByFullnessTest, RemovesFromAnyPlaceInALevel) {
  for (const UnitId id : {a_, b_, c_}) units_.Put(id, 40, 80);
  ASSERT_EQ(units_.Fullest(), c_);
  units_.Remove(b_);
  units_.Remove(b_);
  EXPECT_EQ(units_.Fullest(), c_);
  units_.Remove(c_);
  EXPECT_EQ(units_.Fullest(), a_);
  units_.Put(b_, 40, 80);
  units_.Remove(a_);
  EXPECT_EQ(units_.Emptiest(), b_);
  units_.Remove(b_);
  EXPECT_EQ(units_.Fullest(), 0u);
}

TEST_F(UnitsByFullnessTest, AUnitCanBeInOneSetForEachLink) {
  UnitsByFullness others(/*link=*/1, table_.get());
  units_.Put(a_, 10, 80);
  others.Put(a_, 70, 80);
  units_.Remove(a_);
  EXPECT_EQ(units_.Fullest(), 0u);
  EXPECT_EQ(others.Fullest(), a_);
}

}  // namespace
}  // namespace ramvol::engine
