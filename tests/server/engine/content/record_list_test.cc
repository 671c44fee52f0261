#include "server/engine/content/record_list.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/memory/arena.h"

namespace ramvol::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class RecordListTest : public ::testing::Test {
 protected:
  std::vector<const Record*> Listed() const {
    std::vector<const Record*> records;
    for (const Record* record = list_.first(); record != nullptr;
         record = record->next.load()) {
      records.push_back(record);
    }
    return records;
  }

  const std::unique_ptr<Arena> arena_ = *Arena::Create(16 << 20);
  const uint64_t bytes_before_ = arena_->allocated_bytes();
  RecordList::Head head_{nullptr};
  RecordList list_{*arena_, &head_};
};

TEST_F(RecordListTest, EntersSeveralAndRemovesAnyOfThem) {
  Record* one = list_.New(1);
  Record* two = list_.New(2);
  Record* three = list_.New(3);
  EXPECT_THAT(Listed(), IsEmpty());
  list_.Add({one});
  list_.Add({two, three});
  EXPECT_THAT(Listed(), ElementsAre(two, three, one));
  EXPECT_EQ(two->top().size_bytes, 2u);
  list_.Remove(three);
  EXPECT_THAT(Listed(), ElementsAre(two, one));
  list_.Remove(two);
  EXPECT_THAT(Listed(), ElementsAre(one));
  list_.Remove(one);
  EXPECT_THAT(Listed(), IsEmpty());
  for (Record* record : {one, two, three})
    list_.Free(record, /*described=*/true);
  EXPECT_EQ(arena_->allocated_bytes(), bytes_before_);
}

TEST_F(RecordListTest, DescriptionsOfAnyLengthAreReplaced) {
  Record* record = list_.New(1);
  EXPECT_EQ(RecordList::DescriptionOf(*record), "");
  for (const size_t length : {1, 4095, 4096, 4097, 100000, 5}) {
    std::string text(length, 'x');
    for (size_t i = 0; i < length; ++i) text[i] = static_cast<char>(i * 7);
    TextPiece* made = list_.NewText(text, Priority::kNormal);
    ASSERT_NE(made, nullptr);
    RecordList::Describe(record, &made);
    EXPECT_EQ(RecordList::DescriptionOf(*record), text) << length;
    list_.FreeText(made);
  }
  list_.Free(record, /*described=*/true);
  EXPECT_EQ(arena_->allocated_bytes(), bytes_before_);
}

TEST_F(RecordListTest, AtTheLimitTheOldDescriptionStays) {
  {
    HeldRecord held(&list_, 1);
    EXPECT_TRUE(held.Describe("old"));
    arena_->FailAllocationsAfterForTest(2);
    EXPECT_FALSE(held.Describe(std::string(20000, 'x')));
    arena_->FailAllocationsAfterForTest(-1);
    EXPECT_EQ(RecordList::DescriptionOf(held.get()), "old");
  }
  EXPECT_EQ(arena_->allocated_bytes(), bytes_before_);
}

TEST_F(RecordListTest, AHeldRecordIsFreedUnlessItIsListed) {
  {
    HeldRecord unlisted(&list_, 5);
    EXPECT_EQ(unlisted.get().top().size_bytes, 5u);
    EXPECT_FALSE(unlisted.listed());
  }
  EXPECT_EQ(arena_->allocated_bytes(), bytes_before_);
  {
    HeldRecord listed(&list_, 6);
    HeldRecord::Enlist({&listed});
    EXPECT_TRUE(listed.listed());
  }
  ASSERT_EQ(Listed().size(), 1u);
  {
    HeldRecord found(&list_, list_.first(), /*damaged=*/false,
                     /*described=*/true);
    EXPECT_EQ(found.get().top().size_bytes, 6u);
    found.Unlist();
  }
  EXPECT_THAT(Listed(), IsEmpty());
  EXPECT_EQ(arena_->allocated_bytes(), bytes_before_);
}

TEST_F(RecordListTest, ADamagedRecordShowsNothingAndIsFreedWithoutDamage) {
  for (const bool described : {true, false}) {
    {
      HeldRecord listed(&list_, 6);
      EXPECT_TRUE(listed.Describe("text"));
      HeldRecord::Enlist({&listed});
    }
    Record* record = list_.first();
    {
      HeldRecord damaged(&list_, record, /*damaged=*/true, described);
      EXPECT_NE(&damaged.get(), record);
      damaged.Unlist();
    }
    EXPECT_THAT(Listed(), IsEmpty());
    EXPECT_EQ(arena_->allocated_bytes() == bytes_before_, described);
  }
}

}  // namespace
}  // namespace ramvol::engine
