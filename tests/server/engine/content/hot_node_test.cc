#include "server/engine/content/hot_node.h"

#include <optional>

#include "gtest/gtest.h"

namespace ramvol::engine {
namespace {

TEST(HotNodesTest, RotatesFromTheOldestOnAndForgetsWhatIsRemoved) {
  HotNodes nodes;
  EXPECT_EQ(nodes.Rotate(), std::nullopt);
  HotNode node[3];
  for (int i = 0; i < 3; ++i) {
    node[i].chunk = i;
    nodes.Add(&node[i]);
  }
  for (uint64_t i = 0; i < 6; ++i) EXPECT_EQ(nodes.Rotate(), i % 3);
  EXPECT_EQ(nodes.size(), 3u);
  nodes.Remove(&node[1]);
  EXPECT_EQ(nodes.Rotate(), 0u);
  EXPECT_EQ(nodes.Rotate(), 2u);
  nodes.Remove(&node[2]);
  EXPECT_EQ(nodes.Rotate(), 0u);
  nodes.Remove(&node[0]);
  EXPECT_EQ(nodes.size(), 0u);
  EXPECT_EQ(nodes.Rotate(), std::nullopt);
  nodes.Add(&node[2]);
  EXPECT_EQ(nodes.Rotate(), 2u);
}

}  // namespace
}  // namespace ramvol::engine
