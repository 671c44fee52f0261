#include "server/engine/content/chunk_refs.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "base/duration_histogram.h"
#include "gtest/gtest.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/frame.h"
#include "server/engine/content/hot_node.h"
#include "server/engine/content/packer.h"
#include "server/engine/content/scratch.h"
#include "server/engine/memory/account.h"
#include "server/engine/memory/arena.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {
namespace {

// A chunk with one of everything: a frame of blocks 0 to 3, a pattern in 4, a
// page in 5, a hot block over the frame's block 1, and holes.
class ChunkRefsTest : public ::testing::Test {
 protected:
  ChunkRefsTest() {
    for (int block = 0; block < 6; ++block) {
      chunk_.replace(block * kBlockBytes, kBlockBytes, kBlockBytes,
                     static_cast<char>('a' + block));
    }
    PackCost cost(durations_);
    EXPECT_TRUE(PackGroup(account_, Priority::kNormal, 0x000f, chunk_.data(), 1,
                          &frame_, &cost));
    for (int block = 0; block < 4; ++block) {
      map_.cold[block] = Slot::OfFrame(frame_);
    }
    map_.cold[4] = Slot::OfPattern(0x6565656565656565);
    map_.cold[5] = Slot::OfPage(NewPage('f'));
    map_.hot = &node_;
    node_.present = 0x0002;
    node_.pages[1] = NewPage('H');
    chunk_.replace(kBlockBytes, kBlockBytes, kBlockBytes, 'H');
  }
  ~ChunkRefsTest() override {
    ReleaseFrame(account_, frame_);
    account_.FreePage(map_.cold[5].page());
    account_.FreePage(node_.pages[1]);
  }
  PageId NewPage(char fill) {
    const PageId page = account_.NewPage(Priority::kNormal);
    std::memset(arena_->PageData(page), fill, kBlockBytes);
    return page;
  }

  DurationHistogram durations_;
  ReadCost cost_{durations_};
  const std::unique_ptr<Arena> arena_ = *Arena::Create(16 << 20);
  Account account_{*arena_, 0};
  std::string chunk_ = std::string(kChunkBytes, '\0');
  Frame* frame_ = nullptr;
  HotNode node_;
  ChunkMap map_;
  ChunkRefs refs_{*arena_};
};

TEST_F(ChunkRefsTest, CopiesAnyRange) {
  refs_.Take(map_, kAllBlocks);
  EXPECT_EQ(refs_.hot_blocks(), 0x0002);
  for (const size_t begin : {0, 1, 4095, 4096, 9000, 20000, 24575}) {
    for (const size_t length : {1, 4096, 5000, 30000}) {
      std::string out(length, '?');
      ASSERT_TRUE(refs_.Copy(begin, begin + length, out.data(), &cost_));
      EXPECT_TRUE(out == chunk_.substr(begin, length)) << begin << length;
    }
  }
}

TEST_F(ChunkRefsTest, CopiesBlocksToTheirPlacesAndDecompressesAFrameOnce) {
  refs_.Take(map_, kAllBlocks);
  std::string out(kChunkBytes, '?');
  EXPECT_EQ(refs_.CopyBlocks(kAllBlocks, out.data(), &cost_), 0);
  EXPECT_TRUE(out == chunk_);
  EXPECT_EQ(cost_.decompressions, 1);
}

TEST_F(ChunkRefsTest, TellsWhatIsInTheScratch) {
  refs_.Take(map_, kAllBlocks);
  char byte;
  ASSERT_TRUE(refs_.Copy(9000, 9001, &byte, &cost_));
  EXPECT_EQ(refs_.frame_in_scratch(), frame_);
  EXPECT_EQ(ThreadScratch().content[kBlockBytes], 'b') << "below the hot one";
  ASSERT_TRUE(refs_.Copy(5 * kBlockBytes, 5 * kBlockBytes + 1, &byte, &cost_));
  EXPECT_EQ(refs_.frame_in_scratch(), nullptr);
}

TEST_F(ChunkRefsTest, NamesTheBlocksOfADamagedFrame) {
  refs_.Take(map_, kAllBlocks);
  frame_->checksum ^= 1;
  std::string out(kChunkBytes, '?');
  EXPECT_EQ(refs_.CopyBlocks(0x003f, out.data(), &cost_), 0x000d);
  EXPECT_EQ(cost_.corrupt_frames, 1);
  EXPECT_FALSE(refs_.Copy(0, 1, out.data(), &cost_));
  EXPECT_TRUE(refs_.Copy(kBlockBytes, 2 * kBlockBytes, out.data(), &cost_))
      << "hot";
  frame_->checksum ^= 1;
}

TEST_F(ChunkRefsTest, SeesChangesOfWhatItTookAndOfNothingElse) {
  refs_.Take(map_, 0x0012);
  EXPECT_TRUE(refs_.SameIn(map_, 0x0012));
  map_.cold[0] = Slot();
  EXPECT_TRUE(refs_.SameIn(map_, 0x0012));
  map_.cold[1] = Slot();
  EXPECT_TRUE(refs_.SameIn(map_, 0x0012)) << "the hot one is on top";
  node_.present = 0;
  EXPECT_FALSE(refs_.SameIn(map_, 0x0002));
  EXPECT_TRUE(refs_.SameIn(map_, 0x0010));
}

TEST_F(ChunkRefsTest, KnowsWhetherBlocksAreInPages) {
  refs_.Take(map_, kAllBlocks);
  EXPECT_TRUE(refs_.AllPages(0x0022));
  EXPECT_FALSE(refs_.AllPages(0x0023));
}

TEST_F(ChunkRefsTest, HoldsAFrameUntilItIsCleared) {
  refs_.Take(map_, 0x000d);
  EXPECT_EQ(frame_->refs.load(), 4u);
  refs_.Clear();
  EXPECT_EQ(frame_->refs.load(), 1u);
}

}  // namespace
}  // namespace ramvol::engine
