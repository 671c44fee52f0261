// Trims and writes of zeroes.
#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "server/engine/volume.h"
#include "tests/server/engine/support/volume_fixture.h"
#include "tests/support/random_data.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::Text;

constexpr uint64_t kGiB = uint64_t{1} << 30;

class VolumeTrimTest : public VolumeTest {};

TEST_F(VolumeTrimTest, WriteZeroesKeepsTheRangeAllocatedWhenAsked) {
  Volume& volume = Make(kGiB);
  ASSERT_TRUE(Write(volume, 0, Text(random_, 200000)).ok());
  ASSERT_TRUE(volume.WriteZeroes(1000, 100000, /*no_hole=*/true).ok());
  EXPECT_EQ(Read(volume, 1000, 100000), std::string(100000, '\0'));
  EXPECT_EQ(AllExtents(volume)[0], (Extent{0, 200704, false}));
  ASSERT_TRUE(volume.WriteZeroes(1000, 100000, /*no_hole=*/false).ok());
  EXPECT_EQ(AllExtents(volume)[0], (Extent{0, 4096, false}));
  EXPECT_EQ(AllExtents(volume)[1].hole, true);
}

// nbdkit's allocator loses data here: a zero that starts within a chunk and
// runs across 128 MiB into a region where nothing is.
TEST_F(VolumeTrimTest, ZeroAcrossAnEmptyRegionKeepsWhatIsBeforeIt) {
  Volume& volume = Make(kGiB);
  const uint64_t offset = (128 << 20) - 100000;
  const std::string data = Text(random_, 50000);
  ASSERT_TRUE(Write(volume, offset, data).ok());
  ASSERT_TRUE(volume.WriteZeroes(offset + 50000, 200 << 20, false).ok());
  EXPECT_EQ(Read(volume, offset, 60000), data + std::string(10000, '\0'));
}

// The trim's references find a hole; the write comes before its commit.
TEST_F(VolumeTrimTest, TrimNextToAWriteIntoAHoleLosesNothing) {
  Volume& volume = Make(kGiB);
  constexpr uint64_t kBlocks = 20000;
  std::atomic<uint64_t> current{0};
  std::thread trimmer([&] {
    for (uint64_t at; (at = current.load()) < kBlocks;) {
      ASSERT_TRUE(volume.Trim(at * 4096, 100).ok());
    }
  });
  for (uint64_t i = 0; i < kBlocks; ++i) {
    current.store(i);
    ASSERT_TRUE(Write(volume, i * 4096 + 200, "abc").ok());
  }
  current.store(kBlocks);
  trimmer.join();
  uint64_t lost = 0;
  for (uint64_t i = 0; i < kBlocks; ++i) {
    lost += Read(volume, i * 4096 + 200, 3) != "abc";
  }
  EXPECT_EQ(lost, 0u);
}

}  // namespace
}  // namespace ramvol::engine
