#include "server/engine/volume/trimmer.h"

#include <cstdint>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/engine/volume/requests_fixture.h"

namespace ramvol::engine {
namespace {

using Leave = Trimmer::Leave;

class TrimmerTest : public RequestsTest {
 protected:
  TrimmerTest() {
    all_ = CompressibleBlocks(64);
    EXPECT_EQ(Write(0, all_), Cause::kNone);
  }
  // Zeroes a range of the volume, and of all_.
  Cause Zero(uint64_t offset, uint64_t length, Leave leave) {
    all_.replace(offset, length, length, '\0');
    return trimmer_.Zero(offset, length, leave).cause;
  }

  std::string all_;
};

TEST_F(TrimmerTest, MakesHolesOfWholeBlocksAndZeroesOfTheRest) {
  const uint64_t blocks =
      Count(Gauge::kCompressedBlocks) + Count(Gauge::kDirtyBlocks);
  ASSERT_EQ(Zero(5000, 3 * kChunkBytes, Leave::kHoles), Cause::kNone);
  EXPECT_TRUE(Read(0, all_.size()) == all_);
  EXPECT_EQ(Count(Gauge::kCompressedBlocks) + Count(Gauge::kDirtyBlocks),
            blocks - 47)
      << "the blocks at both ends stay";
}

TEST_F(TrimmerTest, ZeroesThatStayAllocatedAreSameFilledBlocks) {
  ASSERT_EQ(Zero(0, 2 * kChunkBytes, Leave::kZeroes), Cause::kNone);
  EXPECT_TRUE(Read(0, all_.size()) == all_);
  EXPECT_EQ(Count(Gauge::kSameFilledBlocks), 32u);
}

TEST_F(TrimmerTest, ATrimWorksWithoutAnyMemory) {
  arena_->FailAllocationsAfterForTest(0);
  EXPECT_EQ(Zero(100, 3 * kChunkBytes, Leave::kHoles), Cause::kNone);
  arena_->FailAllocationsAfterForTest(-1);
  EXPECT_TRUE(Read(0, all_.size()) == all_);
}

TEST_F(TrimmerTest, ZeroesThatStayAllocatedNeedRoom) {
  layer_->account.set_limit_bytes(1 << 10);
  EXPECT_EQ(trimmer_.Zero(100 * kChunkBytes, 10, Leave::kZeroes).cause,
            Cause::kVolumeLimit);
  EXPECT_EQ(Zero(0, kChunkBytes, Leave::kHoles), Cause::kNone);
}

TEST_F(TrimmerTest, CutsOffWhatLiesPastTheNewEnd) {
  const uint64_t end = kChunkBytes + 5000;
  Shrink(end);
  trimmer_.CutOff(end, all_.size());
  Shrink(all_.size());
  all_.replace(end, all_.size() - end, all_.size() - end, '\0');
  EXPECT_TRUE(Read(0, all_.size()) == all_);
}

TEST_F(TrimmerTest, RefusesARangeThatWasCutOffMeanwhile) {
  Shrink(kChunkBytes);
  EXPECT_EQ(trimmer_.Zero(kChunkBytes + 5, 10, Leave::kHoles).cause,
            Cause::kShrunk);
}

}  // namespace
}  // namespace ramvol::engine
