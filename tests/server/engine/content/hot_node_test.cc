#include "server/engine/content/hot_node.h"

#include "gtest/gtest.h"
#include "server/engine/content/home.h"
#include "server/engine/content/node.h"

namespace ramvol::engine {
namespace {

TEST(HotNodesTest, RotatesFromTheOldestOnAndForgetsWhatIsRemoved) {
  HotNodes nodes;
  EXPECT_FALSE(nodes.Rotate());
  Leaf leaf(0, nullptr);
  HotNode node[3];
  for (int i = 0; i < 3; ++i) {
    node[i].home = HomePointer::Of(&leaf).bits;
    node[i].chunk = i;
    nodes.Add(&node[i]);
  }
  for (uint64_t i = 0; i < 6; ++i) EXPECT_EQ(nodes.Rotate().chunk(), i % 3);
  EXPECT_EQ(nodes.size(), 3u);
  nodes.Remove(&node[1]);
  EXPECT_EQ(nodes.Rotate().chunk(), 0u);
  EXPECT_EQ(nodes.Rotate().chunk(), 2u);
  nodes.Remove(&node[2]);
  EXPECT_EQ(nodes.Rotate().chunk(), 0u);
  nodes.Remove(&node[0]);
  EXPECT_EQ(nodes.size(), 0u);
  EXPECT_FALSE(nodes.Rotate());
  nodes.Add(&node[2]);
  EXPECT_EQ(nodes.Rotate().chunk(), 2u);
}

}  // namespace
}  // namespace ramvol::engine
