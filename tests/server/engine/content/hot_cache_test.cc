#include "server/engine/content/hot_cache.h"

#include <cstdint>
#include <iterator>

#include "gtest/gtest.h"
#include "server/engine/content/home.h"
#include "server/engine/content/hot_node.h"
#include "server/engine/content/node.h"

namespace ramvol::engine {
namespace {

class HotCacheTest : public ::testing::Test {
 protected:
  HotCacheTest() {
    for (uint64_t i = 0; i < std::size(nodes_); ++i) {
      nodes_[i].home = HomePointer::Of(&leaf_).bits;
      nodes_[i].chunk = i;
      nodes_[i].present = 0x3;
    }
  }

  HotCache cache_{16 * kBlockBytes};
  Leaf leaf_{0, nullptr};
  HotNode nodes_[3];
};

TEST_F(HotCacheTest, PicksEachLinkedNodeOnceAndByItsState) {
  nodes_[0].dirty = 0x1;
  for (HotNode& node : nodes_) cache_.Link(&node);
  const Home dirty = cache_.PickDirty();
  EXPECT_EQ(dirty.pointer().leaf(), &leaf_);
  EXPECT_EQ(dirty.chunk(), 0u);
  EXPECT_FALSE(cache_.PickDirty());
  const Home first = cache_.PickClean();
  const Home second = cache_.PickClean();
  EXPECT_EQ(first.chunk() + second.chunk(), 3u) << "chunks 1 and 2";
  EXPECT_FALSE(cache_.PickClean());
}

TEST_F(HotCacheTest, ANodeThatBecomesDirtyLeavesTheCleanQueues) {
  cache_.Link(&nodes_[0]);
  nodes_[0].dirty = 0x2;
  cache_.MarkDirty(&nodes_[0]);
  EXPECT_FALSE(cache_.PickClean());
  EXPECT_TRUE(cache_.PickDirty());
}

TEST_F(HotCacheTest, WhatWasPickedIsInTheNewHome) {
  Leaf other(0, nullptr);
  HotNodes ring;
  cache_.Link(&nodes_[0]);
  cache_.Move(&nodes_[0], HomePointer::Of(&other), ring);
  EXPECT_EQ(cache_.PickClean().pointer().leaf(), &other);
}

TEST_F(HotCacheTest, KnowsHowFullItIs) {
  cache_.AddBlocks(16, 8);
  EXPECT_FALSE(cache_.OverCapacity());
  EXPECT_FALSE(cache_.OverDirtyLow());
  cache_.AddBlocks(1, 1);
  EXPECT_TRUE(cache_.OverCapacity());
  EXPECT_TRUE(cache_.OverDirtyLow());
  EXPECT_FALSE(cache_.OverDirtyHigh());
  cache_.AddBlocks(0, 4);
  EXPECT_TRUE(cache_.OverDirtyHigh());
}

}  // namespace
}  // namespace ramvol::engine
