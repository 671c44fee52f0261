#include "server/engine/content/hot_cache.h"

#include <cstdint>
#include <iterator>
#include <memory>

#include "gtest/gtest.h"
#include "server/engine/content/hot_node.h"
#include "tests/server/engine/support/fake_owner.h"

namespace ramvol::engine {
namespace {

class HotCacheTest : public ::testing::Test {
 protected:
  HotCacheTest() {
    for (uint64_t i = 0; i < std::size(nodes_); ++i) {
      nodes_[i].owner = owner_.get();
      nodes_[i].chunk = i;
      nodes_[i].present = 0x3;
    }
  }

  HotCache cache_{16 * kBlockBytes};
  std::shared_ptr<FakeOwner> owner_ = std::make_shared<FakeOwner>();
  HotNode nodes_[3];
};

TEST_F(HotCacheTest, PicksEachLinkedNodeOnceAndByItsState) {
  nodes_[0].dirty = 0x1;
  for (HotNode& node : nodes_) cache_.Link(&node);
  const HotChunk dirty = cache_.PickDirty();
  EXPECT_EQ(dirty.owner, owner_);
  EXPECT_EQ(dirty.chunk, 0u);
  EXPECT_EQ(cache_.PickDirty().owner, nullptr);
  const HotChunk first = cache_.PickClean();
  const HotChunk second = cache_.PickClean();
  EXPECT_EQ(first.chunk + second.chunk, 3u) << "chunks 1 and 2";
  EXPECT_EQ(cache_.PickClean().owner, nullptr);
}

TEST_F(HotCacheTest, ANodeThatBecomesDirtyLeavesTheCleanQueues) {
  cache_.Link(&nodes_[0]);
  nodes_[0].dirty = 0x2;
  cache_.MarkDirty(&nodes_[0]);
  EXPECT_EQ(cache_.PickClean().owner, nullptr);
  EXPECT_EQ(cache_.PickDirty().owner, owner_);
}

TEST_F(HotCacheTest, PicksNothingOfAnOwnerThatIsGoing) {
  cache_.Link(&nodes_[0]);
  bool gone = false;
  owner_->when_going = [&] {
    EXPECT_EQ(cache_.PickClean().owner, nullptr);
    cache_.Unlink(&nodes_[0]);
    gone = true;
  };
  owner_.reset();
  EXPECT_TRUE(gone);
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
