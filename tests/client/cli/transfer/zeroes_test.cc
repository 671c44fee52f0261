#include "client/cli/transfer/zeroes.h"

#include <string>

#include "gtest/gtest.h"

namespace ramvol::cli {
namespace {

TEST(ZeroesTest, IsAllZeroFindsAByteAnywhere) {
  std::string data(5000, '\0');
  EXPECT_TRUE(IsAllZero(data));
  EXPECT_TRUE(IsAllZero(""));
  for (const size_t at : {size_t{0}, size_t{1}, size_t{2500}, size_t{4999}}) {
    std::string dirty = data;
    dirty[at] = 1;
    EXPECT_FALSE(IsAllZero(dirty)) << at;
  }
}

TEST(ZeroesTest, RunEndsWhereBlocksChangeKind) {
  std::string data(4 * kBlockBytes, '\0');
  data[2 * kBlockBytes] = 'x';
  HeadRun run = FindHeadRun(0, data);
  EXPECT_TRUE(run.zero);
  EXPECT_EQ(run.length, 2u * kBlockBytes);
  run = FindHeadRun(2 * kBlockBytes,
                    std::string_view(data).substr(2 * kBlockBytes));
  EXPECT_FALSE(run.zero);
  EXPECT_EQ(run.length, 1u * kBlockBytes);
}

TEST(ZeroesTest, BlocksLieAtMultiplesOfTheVolumeNotOfTheBuffer) {
  // From offset 100 the first block has 3996 bytes left.
  std::string data(2 * kBlockBytes, '\0');
  data[kBlockBytes - 100] = 'x';
  const HeadRun run = FindHeadRun(100, data);
  EXPECT_TRUE(run.zero);
  EXPECT_EQ(run.length, static_cast<size_t>(kBlockBytes - 100));
}

TEST(ZeroesTest, AllOfOneKindIsOneRun) {
  EXPECT_EQ(FindHeadRun(0, std::string(10000, 'x')).length, 10000u);
  EXPECT_EQ(FindHeadRun(7, std::string(10000, '\0')).length, 10000u);
  EXPECT_EQ(FindHeadRun(0, "").length, 0u);
}

}  // namespace
}  // namespace ramvol::cli
