#include "server/engine/memory/unit_table.h"

#include <cstdint>
#include <memory>
#include <set>

#include "gtest/gtest.h"
#include "server/engine/memory/memory_account.h"

namespace ramvol::engine {
namespace {

constexpr uint64_t kBytes = 16 << 20;

class UnitTableTest : public ::testing::Test {
 protected:
  MemoryAccount account_{uint64_t{1} << 30};
  const std::unique_ptr<UnitTable> table_ =
      *UnitTable::Create(kBytes, &account_);
};

TEST_F(UnitTableTest, HandsOutEachUnitOnceAndAgainWhenItIsBack) {
  std::set<UnitId> taken;
  for (;;) {
    const UnitId id = table_->Take(/*owner=*/3, Priority::kNormal);
    if (id == 0) break;
    ASSERT_TRUE(taken.insert(id).second);
    ASSERT_EQ(table_->unit(id).owner, 3);
    ASSERT_EQ(table_->UnitOf(table_->data(id) + kUnitBytes - 1), id);
  }
  EXPECT_GE(taken.size(), kBytes / kUnitBytes);
  const UnitId back = *taken.begin();
  table_->Put(back);
  EXPECT_EQ(table_->Take(5, Priority::kNormal), back);
  EXPECT_EQ(table_->unit(back).owner, 5);
}

TEST_F(UnitTableTest, PagesThatAreGivenBackReadAsZero) {
  const UnitId id = table_->Take(1, Priority::kNormal);
  char* data = table_->data(id);
  data[0] = data[kPageBytes] = 'x';
  EXPECT_TRUE(table_->GiveBack(id, 0x1));
  EXPECT_EQ(data[0], 0);
  EXPECT_EQ(data[kPageBytes], 'x');
  EXPECT_TRUE(table_->GiveBack(id, 0x2));
  table_->Put(id);
}

}  // namespace
}  // namespace ramvol::engine
