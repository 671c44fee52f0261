#include "server/engine/types/blocks.h"

#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<int> Walk(uint64_t mask) {
  std::vector<int> bits;
  for (const int bit : Bits(mask)) bits.push_back(bit);
  return bits;
}

TEST(BlocksTest, WalksTheBitsOfAMaskFromTheLowestOn) {
  EXPECT_THAT(Walk(0), IsEmpty());
  EXPECT_THAT(Walk(0x8421), ElementsAre(0, 5, 10, 15));
  EXPECT_THAT(Walk(uint64_t{1} << 63 | 1), ElementsAre(0, 63));
  EXPECT_EQ(Walk(~uint64_t{0}).size(), 64u);
}

TEST(BlocksTest, FindsTheBlocksOfARange) {
  EXPECT_EQ(BlocksIn(0, 1), 0x0001);
  EXPECT_EQ(BlocksIn(0, kBlockBytes), 0x0001);
  EXPECT_EQ(BlocksIn(0, kBlockBytes + 1), 0x0003);
  EXPECT_EQ(BlocksIn(kBlockBytes - 1, kBlockBytes + 1), 0x0003);
  EXPECT_EQ(BlocksIn(kChunkBytes - 1, kChunkBytes), 0x8000);
  EXPECT_EQ(BlocksIn(0, kChunkBytes), kAllBlocks);
}

TEST(BlocksTest, TellsARunFromBlocksWithOthersBetween) {
  EXPECT_TRUE(IsRun(0x0001));
  EXPECT_TRUE(IsRun(0x0ff0));
  EXPECT_TRUE(IsRun(kAllBlocks));
  EXPECT_FALSE(IsRun(0x0005));
  EXPECT_FALSE(IsRun(0x8001));
}

}  // namespace
}  // namespace ramvol::engine
