#include "server/engine/background/reclaimer.h"

#include <cstdint>
#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/background/compactor.h"
#include "server/engine/content/refusal.h"
#include "tests/server/engine/support/volume_parts_fixture.h"

namespace ramvol::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

class ReclaimerTest : public VolumePartsTest {
 protected:
  // Leaves `bytes` of what a request may use.
  void LeaveRoomFor(uint64_t bytes) {
    uint64_t step = kLimitBytes;
    for (; step >= kPageBytes; step /= 2) {
      while (arena_->HasRoom(bytes + step)) {
        ASSERT_TRUE(arena_->Reserve(step, Priority::kNormal));
      }
    }
  }
  // As the engine does, or keeps everything.
  void Connect() { worker_.to = &compactor_; }

  Reclaimer reclaimer_{engine_};
};

TEST_F(ReclaimerTest, TakesNothingWhereThereIsRoom) {
  Connect();
  PutHot(0, 0, Compressible(), /*dirty=*/false);
  EXPECT_TRUE(reclaimer_.FindRoom(*layer_, 1 << 20));
  EXPECT_THAT(worker_.dropped, IsEmpty());
}

TEST_F(ReclaimerTest, DropsCleanBlocksBeforeItCompressesDirtyOnes) {
  Connect();
  PutHot(1, 0, Compressible(), /*dirty=*/true);
  ASSERT_EQ(hot_.PickDirty().chunk(), 1u);
  Flush(1);
  PutHot(0, 0, Compressible(), /*dirty=*/true);
  LeaveRoomFor(0);
  EXPECT_TRUE(reclaimer_.FindRoom(*layer_, kPageBytes));
  EXPECT_THAT(worker_.dropped, ElementsAre(1));
  EXPECT_THAT(worker_.flushed, IsEmpty());
}

TEST_F(ReclaimerTest, CompressesWhatIsDirtyWhenNothingIsClean) {
  Connect();
  for (int block = 0; block < kBlocksPerChunk; ++block) {
    PutHot(0, block, Compressible(), /*dirty=*/true);
  }
  LeaveRoomFor(0);
  EXPECT_TRUE(reclaimer_.FindRoom(*layer_, 4 * kPageBytes));
  EXPECT_THAT(worker_.flushed, ElementsAre(0));
}

TEST_F(ReclaimerTest, HasFramesMadeAnewThatAreAskedFor) {
  PutHot(7, 0, Compressible(), /*dirty=*/true);
  ASSERT_TRUE(hot_.PickDirty());
  LeaveRoomFor(0);
  parts_.AskToRewrite(7, RewriteReason::kMostlyDead);
  EXPECT_FALSE(reclaimer_.FindRoom(*layer_, kPageBytes));
  EXPECT_THAT(worker_.rewritten,
              ElementsAre(Pair(7, RewriteReason::kMostlyDead)));
}

TEST_F(ReclaimerTest, AtItsOwnLimitAVolumeMakesRoomInItsOwnCache) {
  Connect();
  // Another volume's blocks are clean, and older.
  const auto other_layer =
      std::make_shared<Layer>(*arena_, 0, packing_, counters_);
  Record record(kChunkBytes);
  Content other(other_layer, hot_, record);
  const PageId page = other_layer->account.NewPage(Priority::kNormal);
  Replaced replaced;
  other
      .Edit({.chunk = 0, .create = true}, *other_layer, &replaced,
            [&](ChunkMap& map) {
              map.cold[0] = Slot::OfPattern(1);
              SetHot(map, 0, page, false);
            })
      .Ignore();
  for (int block = 0; block < kBlocksPerChunk; ++block) {
    PutHot(3, block, Compressible(), /*dirty=*/true);
  }
  layer_->account.set_limit_bytes(layer_->account.used_bytes());
  EXPECT_EQ(reclaimer_.OutOfMemory(*layer_).cause, Cause::kVolumeLimit);
  EXPECT_TRUE(reclaimer_.FindRoom(*layer_, kPageBytes));
  EXPECT_THAT(worker_.flushed, ElementsAre(3));
  EXPECT_THAT(worker_.dropped, ElementsAre(3));
  EXPECT_EQ(other.Measure().census[Gauge::kHotBlocks], 1);
}

// An owner from whose chunks nothing is to be had links them again each time.
TEST_F(ReclaimerTest, EndsWhenNothingGivesMemoryBack) {
  constexpr int kChunks = 100;
  for (uint64_t chunk = 0; chunk < kChunks; ++chunk) {
    PutHot(chunk, 0, Compressible(), /*dirty=*/true);
  }
  const auto relink = [this](const Home& home) {
    Replaced replaced;
    KeepAt(home, hot_, *layer_, &replaced,
           [&](ChunkMap& map) { hot_.Link(map.node); });
  };
  worker_.when_flushing = relink;
  LeaveRoomFor(0);
  EXPECT_FALSE(reclaimer_.FindRoom(*layer_, 1 << 20));
  EXPECT_EQ(reclaimer_.OutOfMemory(*layer_).cause, Cause::kServerLimit);
  // Two rounds of a step for each block, one more for each dirty one, and one
  // for each request that the queue can hold.
  EXPECT_LE(worker_.flushed.size(),
            2 * (2 * kChunks + WorkQueue::kMaxRequests));

  worker_.flushed.clear();
  layer_->account.set_limit_bytes(layer_->account.used_bytes());
  EXPECT_FALSE(reclaimer_.FindRoom(*layer_, kPageBytes));
  EXPECT_LE(worker_.flushed.size(), kChunks + WorkQueue::kMaxRequests);
}

TEST_F(ReclaimerTest, APageThatMustBeIsTakenBeyondTheLimit) {
  LeaveRoomFor(0);
  EXPECT_EQ(reclaimer_.NewPage(*layer_, /*must_succeed=*/false), 0u);
  const PageId page = reclaimer_.NewPage(*layer_, /*must_succeed=*/true);
  ASSERT_NE(page, 0u);
  layer_->account.FreePage(page);
}

TEST_F(ReclaimerTest, EmptiesNoCacheForWhatWillNotFitThen) {
  Connect();
  PutHot(0, 0, Compressible(), /*dirty=*/false);
  LeaveRoomFor(0);
  reclaimer_.PrepareToReserve(*layer_, kLimitBytes / 2);
  EXPECT_THAT(worker_.dropped, IsEmpty());
  reclaimer_.PrepareToReserve(*layer_, kPageBytes);
  EXPECT_THAT(worker_.dropped, ElementsAre(0));
}

TEST_F(ReclaimerTest, ThrottlingKeepsTheCacheInItsBounds) {
  Connect();
  const uint64_t capacity = kCacheBytes / kBlockBytes;
  for (uint64_t i = 0; i < capacity * 2; ++i) {
    PutHot(i / 16, i % 16, Compressible(), /*dirty=*/true);
    reclaimer_.Throttle();
    ASSERT_LE(hot_.dirty_blocks(), capacity / 4 * 3);
    ASSERT_LE(hot_.hot_blocks(), capacity);
  }
  EXPECT_GT(totals_.counts.Sum(Total::kThrottledWrites), 0u);
}

}  // namespace
}  // namespace ramvol::engine
