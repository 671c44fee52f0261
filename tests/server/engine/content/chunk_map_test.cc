#include "server/engine/content/chunk_map.h"

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/content/frame.h"
#include "server/engine/content/hot_node.h"
#include "server/engine/memory/account.h"
#include "server/engine/memory/arena.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

class ChunkMapTest : public ::testing::Test {
 protected:
  ~ChunkMapTest() override {
    for (Frame* frame : frames_) ReleaseFrame(account_, frame);
    Pack(ChunkMap(), account_, &entry_);
  }
  Frame* NewFrameOf(BlockMask blocks) {
    const std::string bytes(100, 'x');
    frames_.push_back(NewFrame(account_, Priority::kNormal, blocks, 0,
                               {bytes.data(), bytes.size()}));
    return frames_.back();
  }
  static void Put(ChunkMap& map, BlockMask blocks, const Slot& slot) {
    for (const int block : Bits(blocks)) map.cold[block] = slot;
  }
  static int64_t Of(const Census& census, Gauge gauge, int offset = 0) {
    return census.values[static_cast<size_t>(gauge) + offset];
  }

  const std::unique_ptr<Arena> arena_ = *Arena::Create(16 << 20);
  Account account_{*arena_, 0};
  ChunkEntry entry_ = 0;
  std::vector<Frame*> frames_;
};

TEST_F(ChunkMapTest, HolesTakeNoMemoryAndAWholeFrameNoneButItsOwn) {
  Pack(ChunkMap(), account_, &entry_);
  EXPECT_EQ(entry_, 0u);
  Frame* frame = NewFrameOf(kAllBlocks);
  const uint64_t bytes = account_.used_bytes();
  ChunkMap map;
  Put(map, kAllBlocks, Slot::OfFrame(frame));
  Pack(map, account_, &entry_);
  EXPECT_EQ(WholeFrame(entry_), frame);
  EXPECT_EQ(PresentBlocks(entry_), kAllBlocks);
  EXPECT_EQ(account_.used_bytes(), bytes);
}

TEST_F(ChunkMapTest, UnpacksWhatWasPacked) {
  std::mt19937 random(1);
  Frame* frames[] = {NewFrameOf(0x00ff), NewFrameOf(0x0f00)};
  HotNode node;
  node.dirty = 0x8000;
  for (int round = 0; round < 1000; ++round) {
    ChunkMap map;
    for (Slot& slot : map.cold) {
      const uint32_t value = random();
      const Slot kinds[] = {Slot(), Slot::OfFrame(frames[value >> 8 & 1]),
                            Slot::OfPattern(value % 3),
                            Slot::OfPage(value % 1000 + 1)};
      slot = kinds[value >> 16 & 3];
    }
    map.hot = map.node = random() % 2 == 0 ? &node : nullptr;
    Pack(map, account_, &entry_);
    const ChunkMap back = ChunkMap::Unpack(entry_);
    ASSERT_EQ(back.cold, map.cold) << round;
    ASSERT_EQ(back.hot, map.hot) << round;
    ASSERT_EQ(PresentBlocks(entry_), map.PresentBlocks()) << round;
  }
}

TEST_F(ChunkMapTest, VisitsEachFrameOnceWithItsBlocks) {
  Frame* low = NewFrameOf(0x00ff);
  Frame* high = NewFrameOf(0xff00);
  ChunkMap map;
  Put(map, 0x0081, Slot::OfFrame(low));
  Put(map, 0xff00, Slot::OfFrame(high));
  Put(map, 0x0010, Slot::OfPattern(1));
  std::vector<std::pair<Frame*, BlockMask>> visited;
  map.ForEachFrame(
      [&](Frame* frame, BlockMask live) { visited.emplace_back(frame, live); });
  EXPECT_THAT(visited, ElementsAre(Pair(low, 0x0081), Pair(high, 0xff00)));
}

TEST_F(ChunkMapTest, TheCensusCountsAFrameOnceAndItsDeadPart) {
  Frame* frame = NewFrameOf(0x000f);
  ChunkMap map;
  Put(map, 0x0003, Slot::OfFrame(frame));
  Put(map, 0x0030, Slot::OfPattern(1));
  Put(map, 0x0040, Slot::OfPage(1));
  const Census census = map.TakeCensus(kAllBlocks);
  EXPECT_EQ(Of(census, Gauge::kCompressedBlocks), 2);
  EXPECT_EQ(Of(census, Gauge::kSameFilledBlocks), 2);
  EXPECT_EQ(Of(census, Gauge::kRawBlocks), 1);
  EXPECT_EQ(Of(census, Gauge::kFrames0, 2), 1);
  EXPECT_EQ(Of(census, Gauge::kFrameBytes0, 2), frame->stored);
  EXPECT_EQ(Of(census, Gauge::kDeadBytes), frame->stored / 2);
}

TEST_F(ChunkMapTest, AChangeAffectsAllThatSharesAFrameWithIt) {
  Frame* frame = NewFrameOf(0x000f);
  ChunkMap before;
  Put(before, 0x000f, Slot::OfFrame(frame));
  Put(before, 0x0100, Slot::OfPattern(1));
  EXPECT_EQ(AffectedBlocks(before, before), 0);
  ChunkMap after = before;
  after.cold[0] = Slot();
  EXPECT_EQ(AffectedBlocks(before, after), 0x000f);
  after = before;
  after.cold[8] = Slot();
  EXPECT_EQ(AffectedBlocks(before, after), 0x0100);
}

}  // namespace
}  // namespace ramvol::engine
