#include "server/engine/memory/slab_class.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "server/engine/memory/memory_account.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/memory/size_class.h"
#include "server/engine/memory/unit_table.h"
#include "tests/server/engine/support/lock_memory.h"

namespace ramvol::engine {
namespace {

constexpr uint64_t kLimitBytes = 64 << 20;
constexpr size_t kUnits = 8;
// Four objects a page, more or less.
constexpr size_t kClass = SizeClassOf(1024);
constexpr uint32_t kSlots = GetSizeClass(kClass).slots;
constexpr uint64_t kObjectBytes = GetSizeClass(kClass).object_bytes;
// Slabs release retained pages eight at a time.
constexpr uint64_t kBatchBytes = 8 * kPageBytes;

class SlabClassTest : public ::testing::Test {
 protected:
  void* Allocate() { return slabs_.Allocate(Priority::kNormal); }
  std::vector<void*> Allocate(size_t count) {
    std::vector<void*> objects;
    for (size_t i = 0; i < count; ++i) objects.push_back(Allocate());
    return objects;
  }
  // Frees all but the first of each `share` objects.
  void ThinOut(const std::vector<void*>& objects, size_t share) {
    for (size_t i = 0; i < objects.size(); ++i) {
      if (i % share != 0) slabs_.Free(objects[i]);
    }
  }
  UnitId SlabOf(const void* object) const { return table_->UnitOf(object); }
  bool IsVictim(const void* object) const {
    return table_->unit(SlabOf(object)).is_victim;
  }
  // Units that the table can still hand out. Takes them.
  size_t UnitsLeft() {
    size_t units = 0;
    while (table_->Take(0, Priority::kNormal) != 0) ++units;
    return units;
  }

  MemoryAccount account_{kLimitBytes};
  const std::unique_ptr<UnitTable> table_ =
      *UnitTable::Create(kUnits * kUnitBytes, &account_);
  SlabClass slabs_{kClass, table_.get(), &account_};
  uint64_t room_bytes_ = kLimitBytes;
};

TEST_F(SlabClassTest, ObjectsOfASlabLieEndToEnd) {
  const std::vector<void*> objects = Allocate(kSlots);
  for (size_t i = 0; i < objects.size(); ++i) {
    ASSERT_NE(objects[i], nullptr);
    ASSERT_EQ(static_cast<char*>(objects[i]),
              static_cast<char*>(objects[0]) + i * kObjectBytes);
    std::memset(objects[i], static_cast<int>(i), kObjectBytes);
  }
  for (size_t i = 0; i < objects.size(); ++i) {
    const auto* const bytes = static_cast<unsigned char*>(objects[i]);
    ASSERT_EQ(bytes[0], i % 256);
    ASSERT_EQ(bytes[kObjectBytes - 1], i % 256);
  }
  EXPECT_EQ(slabs_.allocated_bytes(), kSlots * kObjectBytes);
  EXPECT_EQ(table_->unit(SlabOf(objects[0])).owner, kClass);
}

TEST_F(SlabClassTest, ChargesOnlyThePagesThatObjectsTouch) {
  const uint64_t before = account_.used_bytes();
  Allocate();
  // One page, and the slab's part of the tables.
  EXPECT_LT(account_.used_bytes() - before, 2 * kPageBytes);
  const uint64_t first = account_.used_bytes();
  Allocate(2);
  EXPECT_EQ(account_.used_bytes(), first) << "they lie on the same page";
  Allocate(kSlots - 3);
  EXPECT_EQ(account_.used_bytes(), first + (kUnitPages - 1) * kPageBytes);
}

TEST_F(SlabClassTest, TakesTheLowestFreeSlotOfTheFullestSlab) {
  const std::vector<void*> first = Allocate(kSlots);
  const std::vector<void*> second = Allocate(kSlots / 2);
  slabs_.Free(first[kSlots - 1]);
  slabs_.Free(first[5]);
  slabs_.Free(second[0]);
  EXPECT_EQ(Allocate(), first[5]);
  EXPECT_EQ(Allocate(), first[kSlots - 1]);
  EXPECT_EQ(Allocate(), second[0]);
  EXPECT_EQ(SlabOf(Allocate()), SlabOf(second[0]));
}

TEST_F(SlabClassTest, RefusesWhatCannotBeChargedAndTakesNothing) {
  while (account_.TryCharge(kPageBytes, Priority::kNormal)) {
  }
  const uint64_t used = account_.used_bytes();
  EXPECT_EQ(Allocate(), nullptr);
  EXPECT_EQ(account_.used_bytes(), used);
  EXPECT_EQ(slabs_.allocated_bytes(), 0u);
  EXPECT_NE(slabs_.Allocate(Priority::kGuaranteed), nullptr);
}

TEST_F(SlabClassTest, AUnitWithoutRoomForAPageGoesBack) {
  void* const object = Allocate();
  const UnitId unit = SlabOf(object);
  slabs_.Free(object);
  slabs_.ReleaseDownTo(0);
  // The table has this unit at hand, without a charge.
  while (account_.TryCharge(kPageBytes, Priority::kNormal)) {
  }
  EXPECT_EQ(Allocate(), nullptr);
  EXPECT_EQ(table_->Take(kClass, Priority::kNormal), unit);
}

TEST_F(SlabClassTest, IsFullWhenTheTableIs) {
  EXPECT_GE(UnitsLeft(), kUnits);
  EXPECT_EQ(Allocate(), nullptr);
}

TEST_F(SlabClassTest, RetainsAFreedPageUntilABatchIsTogether) {
  const std::vector<void*> objects = Allocate(kSlots);
  const uint64_t used = account_.used_bytes();
  // From the end, where each fourth object or so frees a page.
  size_t i = kSlots;
  while (account_.retained_bytes() < kBatchBytes - kPageBytes) {
    slabs_.Free(objects[--i]);
    ASSERT_EQ(account_.used_bytes(), used);
  }
  while (account_.used_bytes() == used) slabs_.Free(objects[--i]);
  EXPECT_EQ(account_.used_bytes(), used - kBatchBytes);
  EXPECT_EQ(account_.retained_bytes(), 0u);
}

TEST_F(SlabClassTest, ReusesRetainedPagesWithoutACharge) {
  const std::vector<void*> objects = Allocate(kSlots);
  const uint64_t used = account_.used_bytes();
  size_t freed = 0;
  while (account_.retained_bytes() == 0) slabs_.Free(objects[freed++]);
  Allocate(freed);
  EXPECT_EQ(account_.used_bytes(), used);
  EXPECT_EQ(account_.retained_bytes(), 0u);
}

TEST_F(SlabClassTest, APageWithALiveObjectStays) {
  const std::vector<void*> objects = Allocate(kSlots);
  // Every page but the last keeps one of its objects.
  ThinOut(objects, 3);
  EXPECT_EQ(account_.retained_bytes(), 0u);
  EXPECT_GT(slabs_.slack_bytes(), kUnitBytes / 2);
}

TEST_F(SlabClassTest, AnEmptySlabGoesBackToTheTable) {
  const std::vector<void*> objects = Allocate(kSlots * kUnits);
  ASSERT_NE(objects.back(), nullptr);
  const uint64_t used = account_.used_bytes();
  for (void* object : objects) slabs_.Free(object);
  slabs_.ReleaseDownTo(0);
  EXPECT_EQ(account_.retained_bytes(), 0u);
  EXPECT_EQ(account_.used_bytes(), used - kUnits * kUnitBytes);
  EXPECT_EQ(slabs_.allocated_bytes(), 0u);
  EXPECT_EQ(slabs_.slack_bytes(), 0u);
  EXPECT_GE(UnitsLeft(), kUnits);
}

TEST_F(SlabClassTest, ReleaseLeavesAsMuchAsItMay) {
  const std::vector<void*> objects = Allocate(kSlots);
  size_t freed = 0;
  while (account_.retained_bytes() < 2 * kPageBytes) {
    slabs_.Free(objects[freed++]);
  }
  slabs_.ReleaseDownTo(2 * kPageBytes);
  EXPECT_EQ(account_.retained_bytes(), 2 * kPageBytes);
  slabs_.ReleaseDownTo(kPageBytes);
  EXPECT_EQ(account_.retained_bytes(), 0u);
}

TEST_F(SlabClassTest, SlackIsWhatLiesBesideLiveObjects) {
  Allocate();
  EXPECT_EQ(slabs_.slack_bytes(),
            kPageBytes - GetSizeClass(kClass).header_bytes - kObjectBytes);
}

// The kernel refuses to release locked pages.
TEST_F(SlabClassTest, WhatTheKernelKeepsStaysChargedAndUsable) {
  void* const object = Allocate();
  char* const slab = table_->data(SlabOf(object));
  if (!LockMemory(slab, kPageBytes)) GTEST_SKIP() << "may not lock memory";
  slabs_.Free(object);
  const uint64_t used = account_.used_bytes();
  slabs_.ReleaseDownTo(0);
  EXPECT_EQ(account_.used_bytes(), used);
  EXPECT_EQ(account_.retained_bytes(), kPageBytes);
  EXPECT_EQ(account_.reclaimable_bytes(), kPageBytes);
  EXPECT_EQ(Allocate(), object);
  EXPECT_EQ(account_.used_bytes(), used);
  EXPECT_EQ(account_.retained_bytes(), 0u);
  UnlockMemory(slab, kPageBytes);
}

TEST_F(SlabClassTest, NothingIsAllocatedInAVictim) {
  const std::vector<void*> full = Allocate(kSlots);
  const std::vector<void*> sparse = Allocate(kSlots);
  ThinOut(sparse, 4);
  ThinOut(full, 4);
  ASSERT_TRUE(slabs_.ChooseVictims(Evacuation::kTight, &room_bytes_));
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(IsVictim(Allocate()));
  slabs_.ForgetVictims();
  EXPECT_FALSE(IsVictim(sparse[0]));
  EXPECT_FALSE(IsVictim(full[0]));
}

TEST_F(SlabClassTest, ASparseSlabIsAVictimWhereOthersHaveRoom) {
  const std::vector<void*> dense = Allocate(kSlots);
  const std::vector<void*> sparse = Allocate(kSlots);
  ThinOut(sparse, 16);
  // Room on pages that stay occupied.
  for (size_t i = 0; i < kSlots; i += 4) slabs_.Free(dense[i]);
  EXPECT_TRUE(slabs_.ChooseVictims(Evacuation::kLight, &room_bytes_));
  EXPECT_TRUE(IsVictim(sparse[0]));
  EXPECT_FALSE(IsVictim(dense[1]));
  EXPECT_EQ(room_bytes_, kLimitBytes) << "nothing new is needed";
}

// A fifth of each slab is free: too little to be sparse, but seven such slabs
// have room for the objects of one of them.
TEST_F(SlabClassTest, DenseSlabsAreVictimsOnlyWhenMemoryIsShort) {
  const std::vector<void*> objects = Allocate(7 * kSlots);
  for (size_t i = 0; i < objects.size(); i += 5) slabs_.Free(objects[i]);
  EXPECT_FALSE(slabs_.ChooseVictims(Evacuation::kLight, &room_bytes_));
  EXPECT_TRUE(slabs_.ChooseVictims(Evacuation::kTight, &room_bytes_));
  size_t victims = 0;
  for (size_t slab = 0; slab < 7; ++slab) {
    victims += IsVictim(objects[slab * kSlots + 1]) ? 1 : 0;
  }
  EXPECT_EQ(victims, 1u);
  EXPECT_EQ(room_bytes_, kLimitBytes) << "nothing new is needed";
}

TEST_F(SlabClassTest, ALoneSparseSlabTakesRoomForWhatLives) {
  const std::vector<void*> objects = Allocate(kSlots);
  ThinOut(objects, 4);
  const uint64_t live = slabs_.allocated_bytes();
  uint64_t too_little = live - 1;
  EXPECT_FALSE(slabs_.ChooseVictims(Evacuation::kTight, &too_little));
  EXPECT_EQ(too_little, live - 1);
  EXPECT_FALSE(IsVictim(objects[0]));
  EXPECT_TRUE(slabs_.ChooseVictims(Evacuation::kLight, &room_bytes_));
  EXPECT_TRUE(IsVictim(objects[0]));
  EXPECT_EQ(room_bytes_, kLimitBytes - live);
}

TEST_F(SlabClassTest, AFullSlabIsNoVictim) {
  const std::vector<void*> objects = Allocate(kSlots);
  EXPECT_FALSE(slabs_.ChooseVictims(Evacuation::kTight, &room_bytes_));
  EXPECT_FALSE(IsVictim(objects[0]));
}

TEST_F(SlabClassTest, AnEmptiedVictimGoesBackAndIsForgotten) {
  const std::vector<void*> objects = Allocate(kSlots);
  ThinOut(objects, 4);
  ASSERT_TRUE(slabs_.ChooseVictims(Evacuation::kLight, &room_bytes_));
  const UnitId slab = SlabOf(objects[0]);
  for (size_t i = 0; i < kSlots; i += 4) slabs_.Free(objects[i]);
  slabs_.ReleaseDownTo(0);
  // The unit is free, and may be another class's now.
  ASSERT_EQ(table_->Take(kClass + 1, Priority::kNormal), slab);
  table_->unit(slab).is_victim = true;
  slabs_.ForgetVictims();
  EXPECT_TRUE(table_->unit(slab).is_victim) << "not ours any more";
}

TEST(SlabClassDeathTest, FreeingTwiceOrBesideAnObjectAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  MemoryAccount account(kLimitBytes);
  const auto table = *UnitTable::Create(kUnitBytes, &account);
  SlabClass slabs(kClass, table.get(), &account);
  slabs.Allocate(Priority::kNormal);
  char* const object = static_cast<char*>(slabs.Allocate(Priority::kNormal));
  EXPECT_DEATH(slabs.Free(object + kObjectAlignment), "");
  slabs.Free(object);
  EXPECT_DEATH(slabs.Free(object), "");
}

// Bitmaps of many words, and objects that are larger than a page.
TEST(SlabClassSizesTest, SmallestAndLargestObjectsFillASlab) {
  for (const size_t index : {size_t{0}, kSizeClasses - 1}) {
    MemoryAccount account(kLimitBytes);
    const auto table = *UnitTable::Create(2 * kUnitBytes, &account);
    SlabClass slabs(index, table.get(), &account);
    std::set<char*> objects;
    const SizeClass& size = GetSizeClass(index);
    for (uint32_t i = 0; i < size.slots; ++i) {
      auto* const object =
          static_cast<char*>(slabs.Allocate(Priority::kNormal));
      ASSERT_NE(object, nullptr);
      ASSERT_TRUE(objects.insert(object).second);
      object[0] = object[size.object_bytes - 1] = 'x';
    }
    EXPECT_EQ(table->UnitOf(*objects.begin()),
              table->UnitOf(*objects.rbegin()));
    EXPECT_EQ(objects.size(), size.slots);
    for (char* object : objects) slabs.Free(object);
    slabs.ReleaseDownTo(0);
    EXPECT_EQ(account.retained_bytes(), 0u);
    EXPECT_EQ(slabs.slack_bytes(), 0u);
  }
}

}  // namespace
}  // namespace ramvol::engine
