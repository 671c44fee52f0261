#include "server/engine/volume/holders.h"

#include "gtest/gtest.h"

namespace ramvol::engine {
namespace {

TEST(HoldersTest, ListsThoseThatCameFirstAndCountsAll) {
  Holders holders;
  const Holders::Id first = holders.Add({"nbd", "a"});
  holders.Add({"nbd", "b"});
  holders.Add({"io", "c"});
  const auto [listed, count] = holders.List(2);
  ASSERT_EQ(listed.size(), 2u);
  EXPECT_EQ(listed[0].from, "a");
  EXPECT_EQ(listed[1].from, "b");
  EXPECT_EQ(count, 3u);
  holders.Remove(first);
  EXPECT_EQ(holders.size(), 2u);
  EXPECT_EQ(holders.List(1).first[0].from, "b");
}

TEST(HoldersTest, OnlyTheFirstComesInWhereNobodyMayBe) {
  Holders holders;
  Holders::Id id = 0;
  EXPECT_TRUE(holders.AddFirst({"nbd", "a"}, &id));
  EXPECT_FALSE(holders.AddFirst({"nbd", "b"}, &id));
  holders.Remove(id);
  EXPECT_TRUE(holders.AddFirst({"nbd", "b"}, &id));
}

}  // namespace
}  // namespace ramvol::engine
