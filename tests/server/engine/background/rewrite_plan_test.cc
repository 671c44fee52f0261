#include "server/engine/background/rewrite_plan.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/content/frame.h"
#include "server/engine/content/hot_node.h"
#include "server/engine/memory/account.h"
#include "server/engine/memory/arena.h"
#include "server/engine/types/options.h"

namespace ramvol::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class RewritePlanTest : public ::testing::Test {
 protected:
  ~RewritePlanTest() override {
    for (Frame* frame : frames_) ReleaseFrame(account_, frame);
  }
  // Puts a frame that was made of `blocks` where `live` are.
  Frame* Put(BlockMask blocks, BlockMask live) {
    const std::string bytes(100, 'x');
    frames_.push_back(NewFrame(account_, Priority::kNormal, blocks, 0,
                               {bytes.data(), bytes.size()}));
    for (const int block : Bits(live)) {
      map_.cold[block] = Slot::OfFrame(frames_.back());
    }
    return frames_.back();
  }
  Groups Plan(RewriteReason reason) {
    return PlanRewrite(map_, reason, packing_).groups;
  }

  const std::unique_ptr<Arena> arena_ = *Arena::Create(16 << 20);
  Account account_{*arena_, 0};
  std::vector<Frame*> frames_;
  const PackingPolicy packing_{VolumeOptions()};
  ChunkMap map_;
  HotNode node_;
};

TEST_F(RewritePlanTest, FlushesDirtyBlocksByRunsOfFourAndOnlyWhenThereAreAny) {
  map_.hot = &node_;
  node_.present = 0xffff;
  EXPECT_THAT(PlanFlush(map_, packing_), IsEmpty());
  node_.dirty = 0x13ff;
  EXPECT_THAT(PlanFlush(map_, packing_),
              ElementsAre(0x000f, 0x00f0, 0x0300, 0x1000));
}

TEST_F(RewritePlanTest, AFlushFillsASmallestFrameFromWhatIsThere) {
  VolumeOptions options;
  options.min_frame_bytes = 16384;
  map_.hot = &node_;
  node_.present = node_.dirty = 0x0001;
  map_.cold[2] = Slot::OfPattern(1);
  EXPECT_THAT(PlanFlush(map_, PackingPolicy(options)), ElementsAre(0x0005));
}

TEST_F(RewritePlanTest, MergesFramesAndRawPagesTogether) {
  Put(0x000f, 0x000f);
  Put(0x00f0, 0x00f0);
  map_.cold[8] = Slot::OfPage(1);
  map_.cold[9] = Slot::OfPattern(1);
  const RewritePlan plan = PlanRewrite(map_, RewriteReason::kCold, packing_);
  EXPECT_THAT(plan.groups, ElementsAre(0x01ff));
  EXPECT_EQ(plan.old_frames, 2);
  EXPECT_EQ(plan.old_stored, 200 + kBlockBytes);
}

TEST_F(RewritePlanTest, LeavesRawPagesAloneWhereThereIsNoFrame) {
  map_.cold[8] = Slot::OfPage(1);
  EXPECT_THAT(Plan(RewriteReason::kCold), IsEmpty());
}

TEST_F(RewritePlanTest, ChoosesFramesByTheirDeadPart) {
  Put(0x000f, 0x0007);
  Put(0x00f0, 0x0030);
  Put(0x0f00, 0x0f00);
  EXPECT_TRUE(HasMostlyDeadFrame(map_));
  EXPECT_THAT(Plan(RewriteReason::kMostlyDead), ElementsAre(0x0030));
  EXPECT_THAT(AllOf(Plan(RewriteReason::kAnyDead)), 0x0037);
}

TEST_F(RewritePlanTest, SplitsLongFramesThatAreReadAndNoOthers) {
  Frame* longer = Put(0x00ff, 0x00ff);
  Frame* shorter = Put(0x0f00, 0x0f00);
  EXPECT_THAT(Plan(RewriteReason::kReadApart), IsEmpty());
  for (int i = 0; i < 2; ++i) {
    longer->Touch();
    shorter->Touch();
  }
  EXPECT_THAT(Plan(RewriteReason::kReadApart), ElementsAre(0x000f, 0x00f0));
}

TEST_F(RewritePlanTest, AgesByTouchesAndWhatMergingGains) {
  Frame* frame = Put(kAllBlocks, kAllBlocks);
  EXPECT_EQ(AgeOf(map_, false), Age::kYoung);
  EXPECT_EQ(AgeOf(map_, false), Age::kCold);
  frame->merged = true;
  EXPECT_EQ(AgeOf(map_, false), Age::kSettled);
  frame->Touch();
  EXPECT_EQ(AgeOf(map_, false), Age::kYoung);
  frame->Touch();
  EXPECT_EQ(AgeOf(map_, true), Age::kSettled);
  map_.hot = &node_;
  node_.present = node_.dirty = 1;
  EXPECT_EQ(AgeOf(map_, true), Age::kYoung) << "a flush is to come";
}

}  // namespace
}  // namespace ramvol::engine
