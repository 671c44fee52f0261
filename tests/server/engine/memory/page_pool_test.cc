#include "server/engine/memory/page_pool.h"

#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "server/engine/memory/memory_account.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/memory/unit_table.h"
#include "tests/server/engine/support/lock_memory.h"

namespace ramvol::engine {
namespace {

constexpr uint8_t kOwner = 7;
constexpr uint64_t kLimitBytes = 64 << 20;
constexpr size_t kUnits = 4;

UnitId UnitOf(PageId page) { return page / kUnitPages; }

class PagePoolTest : public ::testing::Test {
 protected:
  PageId Fresh() { return pool_.AllocateFresh(Priority::kNormal); }
  PageId Retained() { return pool_.AllocateRetained(Priority::kNormal); }
  std::vector<PageId> Fresh(size_t count) {
    std::vector<PageId> pages;
    for (size_t i = 0; i < count; ++i) pages.push_back(Fresh());
    return pages;
  }
  // Charges so much that `left` bytes are left for Priority::kNormal.
  void LeaveRoomFor(uint64_t left) {
    while (account_.HasRoom(left + kPageBytes, Priority::kNormal)) {
      ASSERT_TRUE(account_.TryCharge(kPageBytes, Priority::kNormal));
    }
  }

  MemoryAccount account_{kLimitBytes};
  const std::unique_ptr<UnitTable> table_ =
      *UnitTable::Create(kUnits * kUnitBytes, &account_);
  PagePool pool_{kOwner, table_.get(), &account_};
};

TEST_F(PagePoolTest, HandsOutEachPageOnceAndChargesIt) {
  Fresh();  // The first page of a unit also charges the unit's tables.
  const uint64_t used = account_.used_bytes();
  std::set<PageId> pages;
  for (size_t i = 1; i < kUnitPages; ++i) {
    const PageId page = Fresh();
    ASSERT_NE(page, 0u);
    ASSERT_TRUE(pages.insert(page).second);
    EXPECT_EQ(table_->unit(UnitOf(page)).owner, kOwner);
    table_->page_data(page)[kPageBytes - 1] = 'x';
  }
  EXPECT_EQ(account_.used_bytes(), used + pages.size() * kPageBytes);
  EXPECT_EQ(pool_.allocated_bytes(), kUnitPages * kPageBytes);
}

TEST_F(PagePoolTest, FillsAUnitBeforeItBeginsAnother) {
  std::set<UnitId> units;
  for (const PageId page : Fresh(kUnitPages)) units.insert(UnitOf(page));
  EXPECT_EQ(units.size(), 1u);
  EXPECT_EQ(units.count(UnitOf(Fresh())), 0u);
}

TEST_F(PagePoolTest, AllocatesInTheFullestUnit) {
  const std::vector<PageId> first = Fresh(kUnitPages);
  const std::vector<PageId> second = Fresh(kUnitPages);
  pool_.Unref(second[0]);
  pool_.ReleaseDownTo(0);
  for (size_t i = 0; i < kUnitPages / 2; ++i) pool_.Unref(first[i]);
  pool_.ReleaseDownTo(0);
  EXPECT_EQ(Fresh(), second[0]);
  EXPECT_EQ(UnitOf(Fresh()), UnitOf(first[0]));
}

TEST_F(PagePoolTest, AReferenceKeepsAPage) {
  const PageId page = Fresh();
  pool_.Ref(page);
  pool_.Unref(page);
  EXPECT_EQ(pool_.allocated_bytes(), kPageBytes);
  EXPECT_EQ(Retained(), 0u);
  pool_.Unref(page);
  EXPECT_EQ(pool_.allocated_bytes(), 0u);
}

TEST_F(PagePoolTest, AFreedPageIsReusedWithoutACharge) {
  EXPECT_EQ(Retained(), 0u);
  const PageId page = Fresh();
  pool_.Unref(page);
  EXPECT_EQ(account_.retained_bytes(), kPageBytes);
  const uint64_t used = account_.used_bytes();
  EXPECT_EQ(Retained(), page);
  EXPECT_EQ(account_.used_bytes(), used);
  EXPECT_EQ(account_.retained_bytes(), 0u);
  EXPECT_EQ(pool_.allocated_bytes(), kPageBytes);
  EXPECT_EQ(Retained(), 0u);
}

// The reserve is for work that frees memory, retained pages not excepted.
TEST_F(PagePoolTest, RetainedPagesObeyTheLimit) {
  pool_.Unref(Fresh());
  LeaveRoomFor(0);
  account_.TryCharge(kPageBytes, Priority::kGuaranteed);
  EXPECT_EQ(Retained(), 0u);
  EXPECT_NE(pool_.AllocateRetained(Priority::kReclaim), 0u);
}

TEST_F(PagePoolTest, AFreshPageIsNeverARetainedOneWhileThereAreOthers) {
  const PageId page = Fresh();
  pool_.Unref(page);
  EXPECT_NE(Fresh(), page);
  EXPECT_EQ(account_.retained_bytes(), kPageBytes);
}

TEST_F(PagePoolTest, OnlyRetainedOnesLeftAreTakenAndChargedOnce) {
  const std::vector<PageId> pages = Fresh(kUnitPages);
  pool_.Unref(pages[3]);
  const uint64_t used = account_.used_bytes();
  EXPECT_EQ(Fresh(), pages[3]);
  EXPECT_EQ(account_.used_bytes(), used);
  EXPECT_EQ(account_.retained_bytes(), 0u);
}

TEST_F(PagePoolTest, RefusesWhatCannotBeCharged) {
  Fresh();
  LeaveRoomFor(kPageBytes);
  EXPECT_NE(Fresh(), 0u);
  const uint64_t used = account_.used_bytes();
  EXPECT_EQ(Fresh(), 0u);
  EXPECT_EQ(account_.used_bytes(), used);
  EXPECT_NE(pool_.AllocateFresh(Priority::kGuaranteed), 0u);
}

TEST_F(PagePoolTest, WithoutAUnitThePageIsNotCharged) {
  while (table_->Take(kOwner, Priority::kNormal) != 0) {
  }
  const uint64_t used = account_.used_bytes();
  EXPECT_EQ(Fresh(), 0u);
  EXPECT_EQ(account_.used_bytes(), used);
  EXPECT_EQ(pool_.allocated_bytes(), 0u);
}

TEST_F(PagePoolTest, ReleasedPagesAreCreditedAndReadAsZero) {
  const std::vector<PageId> pages = Fresh(3);
  const uint64_t used = account_.used_bytes();
  table_->page_data(pages[1])[0] = 'x';
  pool_.Unref(pages[1]);
  pool_.ReleaseDownTo(kPageBytes);
  EXPECT_EQ(account_.used_bytes(), used) << "as much may stay";
  pool_.ReleaseDownTo(0);
  EXPECT_EQ(account_.used_bytes(), used - kPageBytes);
  EXPECT_EQ(account_.retained_bytes(), 0u);
  EXPECT_EQ(account_.reclaimable_bytes(), 0u);
  const PageId again = Fresh();
  EXPECT_EQ(again, pages[1]);
  EXPECT_EQ(table_->page_data(again)[0], 0);
}

TEST_F(PagePoolTest, ReleasesTheEmptiestUnitsFirst) {
  const std::vector<PageId> first = Fresh(kUnitPages);
  const std::vector<PageId> second = Fresh(kUnitPages / 4);
  pool_.Unref(first[0]);
  pool_.Unref(second[0]);
  pool_.ReleaseDownTo(kPageBytes);
  EXPECT_EQ(account_.retained_bytes(), kPageBytes);
  EXPECT_EQ(Retained(), first[0]);
}

TEST_F(PagePoolTest, AnEmptyUnitGoesBackToTheTable) {
  for (const PageId page : Fresh(kUnitPages * kUnits)) {
    ASSERT_NE(page, 0u);
    pool_.Unref(page);
  }
  pool_.ReleaseDownTo(0);
  size_t units = 0;
  while (table_->Take(kOwner, Priority::kNormal) != 0) ++units;
  EXPECT_GE(units, kUnits);
}

// The kernel refuses to release locked pages.
TEST_F(PagePoolTest, WhatTheKernelKeepsStaysChargedAndUsable) {
  const PageId page = Fresh();
  char* const data = table_->page_data(page);
  if (!LockMemory(data, kPageBytes)) GTEST_SKIP() << "may not lock memory";
  pool_.Unref(page);
  const uint64_t used = account_.used_bytes();
  pool_.ReleaseDownTo(0);
  EXPECT_EQ(account_.used_bytes(), used);
  EXPECT_EQ(account_.retained_bytes(), kPageBytes);
  EXPECT_EQ(account_.reclaimable_bytes(), kPageBytes);
  EXPECT_EQ(Retained(), page);
  UnlockMemory(data, kPageBytes);
}

TEST_F(PagePoolTest, PoolsShareATableWithoutSharingUnits) {
  PagePool other(kOwner + 1, table_.get(), &account_);
  const PageId mine = Fresh();
  const PageId theirs = other.AllocateFresh(Priority::kNormal);
  EXPECT_NE(UnitOf(mine), UnitOf(theirs));
  EXPECT_EQ(table_->unit(UnitOf(theirs)).owner, kOwner + 1);
  EXPECT_EQ(pool_.allocated_bytes(), kPageBytes);
}

}  // namespace
}  // namespace ramvol::engine
