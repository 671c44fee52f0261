#include "server/engine/volume/reader.h"

#include <cstdint>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/engine/volume/requests_fixture.h"

namespace ramvol::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

class ReaderTest : public RequestsTest {};

TEST_F(ReaderTest, ASmallReadKeepsWhatItDecompressed) {
  const std::string data = CompressibleBlocks(4);
  ASSERT_EQ(Write(0, data), Cause::kNone);
  ASSERT_EQ(hot_.hot_blocks(), 0);
  EXPECT_EQ(Read(100, 50), data.substr(100, 50));
  EXPECT_EQ(hot_.hot_blocks(), 1) << "the block that was read";
  EXPECT_EQ(Stats().cache_misses, 1u);
  EXPECT_EQ(Read(200, 50), data.substr(200, 50));
  EXPECT_EQ(Stats().cache_hits, 1u);
  EXPECT_EQ(Stats().decompressions, 1u);
}

TEST_F(ReaderTest, AReadThatGoesOnWhereTheLastOneEndedKeepsTheWholeFrame) {
  const std::string data = CompressibleBlocks(8);
  ASSERT_EQ(Write(0, data), Cause::kNone);
  EXPECT_EQ(Read(0, 16384), data.substr(0, 16384));
  EXPECT_EQ(hot_.hot_blocks(), 4);
  EXPECT_EQ(Read(16384, 100), data.substr(16384, 100));
  EXPECT_EQ(hot_.hot_blocks(), 8);
}

TEST_F(ReaderTest, ALongReadLeavesTheCacheAlone) {
  const std::string data = CompressibleBlocks(16);
  ASSERT_EQ(Write(0, data), Cause::kNone);
  EXPECT_EQ(Read(0, data.size()), data);
  EXPECT_EQ(hot_.hot_blocks(), 0);
}

TEST_F(ReaderTest, KeepsNothingWhenMemoryIsShort) {
  const std::string data = CompressibleBlocks(4);
  ASSERT_EQ(Write(0, data), Cause::kNone);
  arena_->FailAllocationsAfterForTest(0);
  EXPECT_EQ(Read(100, 50), data.substr(100, 50));
  arena_->FailAllocationsAfterForTest(-1);
  EXPECT_EQ(hot_.hot_blocks(), 0);
}

TEST_F(ReaderTest, AsksForALargeFrameToBeSplitThatIsReadApart) {
  ASSERT_EQ(Write(0, CompressibleBlocks(16)), Cause::kNone);
  Rewrite(0, RewriteReason::kCold);
  for (int block = 1; block < 8; ++block) Read(block * kBlockBytes + 5, 10);
  EXPECT_FALSE(engine_.RunOneRequest());
  Read(8 * kBlockBytes + 5, 10);
  EXPECT_TRUE(engine_.RunOneRequest());
  EXPECT_THAT(worker_.rewritten,
              ElementsAre(Pair(0, RewriteReason::kReadApart)));
}

TEST_F(ReaderTest, NamesTheChunkWhoseFrameIsDamaged) {
  ASSERT_EQ(Write(5 * kChunkBytes, CompressibleBlocks(4)), Cause::kNone);
  content_
      .Look(5, 0,
            [](const ChunkMap& map) {
              map.cold[0].frame()->checksum ^= 1;
              return false;
            })
      .Ignore();
  std::string out(10, '?');
  ReadClock clock(true);
  const Refusal refusal =
      reader_.Read(5 * kChunkBytes, absl::MakeSpan(out), &clock);
  EXPECT_EQ(refusal.cause, Cause::kCorrupt);
  EXPECT_EQ(refusal.chunk, 5u);
  EXPECT_EQ(Stats().corrupt_frames, 1u);
}

TEST_F(ReaderTest, FindsExtentsAcrossLeavesAndJoinsNeighbours) {
  ASSERT_EQ(Write(0, CompressibleBlocks(1)), Cause::kNone);
  const uint64_t boundary = 64 * kChunkBytes;
  ASSERT_EQ(Write(boundary - kBlockBytes, CompressibleBlocks(2)), Cause::kNone);
  const uint64_t end = 200 * kChunkBytes;
  Extents extents;
  ASSERT_TRUE(reader_.FindExtents(100, end - 100, 10, &extents).ok());
  EXPECT_THAT(
      extents.extents,
      ElementsAre(
          Extent{100, kBlockBytes - 100, false},
          Extent{kBlockBytes, boundary - 2 * kBlockBytes, true},
          Extent{boundary - kBlockBytes, 2 * kBlockBytes, false},
          Extent{boundary + kBlockBytes, end - boundary - kBlockBytes, true}));
  EXPECT_EQ(extents.next_offset_bytes, end);
  ASSERT_TRUE(reader_.FindExtents(0, end, 2, &extents).ok());
  EXPECT_EQ(extents.extents.size(), 2u);
  EXPECT_EQ(extents.next_offset_bytes, boundary - kBlockBytes);
}

TEST_F(ReaderTest, ReadsNothingPastAnEndThatMoved) {
  Shrink(kChunkBytes);
  std::string out(kBlockBytes, '?');
  ReadClock clock(true);
  EXPECT_EQ(reader_.Read(kChunkBytes, absl::MakeSpan(out), &clock).cause,
            Cause::kShrunk);
}

}  // namespace
}  // namespace ramvol::engine
