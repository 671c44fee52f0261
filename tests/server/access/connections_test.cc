#include "server/access/connections.h"

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace ramvol::access {
namespace {

TEST(ConnectionsTest, KeepsNamesWhileTheEntryLives) {
  Connections connections;
  auto [first, first_entry] = connections.Add({"unix:0"});
  auto [second, second_entry] = connections.Add({"unix:1"});
  EXPECT_NE(first, second);
  EXPECT_EQ(*connections.Find(first), std::vector<std::string>{"unix:0"});
  first_entry.reset();
  EXPECT_EQ(connections.Find(first), nullptr);
  EXPECT_EQ(*connections.Find(second), std::vector<std::string>{"unix:1"});
  EXPECT_EQ(connections.Find(77), nullptr);
}

TEST(ConnectionsTest, EntriesMayOutliveThem) {
  std::shared_ptr<const void> entry;
  {
    Connections connections;
    entry = connections.Add({"unix:0"}).second;
  }
  entry.reset();
}

}  // namespace
}  // namespace ramvol::access
