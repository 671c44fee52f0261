#include "server/engine/volume/writer.h"

#include <cstdint>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/engine/volume/requests_fixture.h"

namespace ramvol::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

class WriterTest : public RequestsTest {
 protected:
  uint64_t FramesOfSpan(int span_log2) const {
    return Count(Gauge::kFrames0, span_log2);
  }
};

TEST_F(WriterTest, FewBlocksWaitInTheCacheAndMoreAreCompressedAtOnce) {
  ASSERT_EQ(Write(0, CompressibleBlocks(3)), Cause::kNone);
  EXPECT_EQ(hot_.dirty_blocks(), 3);
  ASSERT_EQ(Write(kChunkBytes, CompressibleBlocks(4)), Cause::kNone);
  EXPECT_EQ(hot_.dirty_blocks(), 3);
  EXPECT_EQ(FramesOfSpan(2), 1u);
}

TEST_F(WriterTest, LongWritesMakeLongerFrames) {
  ASSERT_EQ(Write(0, CompressibleBlocks(32)), Cause::kNone);
  EXPECT_EQ(FramesOfSpan(3), 4u);
}

TEST_F(WriterTest, AnUnalignedWriteKeepsWhatIsAroundIt) {
  std::string all = CompressibleBlocks(32);
  ASSERT_EQ(Write(0, all), Cause::kNone);
  const std::string some = CompressibleBlocks(20).substr(0, 70000);
  ASSERT_EQ(Write(5000, some), Cause::kNone);
  all.replace(5000, some.size(), some);
  EXPECT_TRUE(Read(0, all.size()) == all);
}

TEST_F(WriterTest, ZeroesBecomeHolesAndPatternsTakeNoPage) {
  ASSERT_EQ(Write(0, CompressibleBlocks(4)), Cause::kNone);
  ASSERT_EQ(Write(0, std::string(4 * kBlockBytes, '\0')), Cause::kNone);
  EXPECT_EQ(layer_->account.used_bytes(), 0u) << "the leaf is gone, too";
  ASSERT_EQ(Write(0, std::string(kBlockBytes, 'x')), Cause::kNone);
  EXPECT_EQ(Count(Gauge::kSameFilledBlocks), 1u);
  EXPECT_EQ(hot_.hot_blocks(), 0);
}

TEST_F(WriterTest, WhatIsRefusedForMemoryChangesNothing) {
  const std::string old_data = CompressibleBlocks(32);
  ASSERT_EQ(Write(0, old_data), Cause::kNone);
  const uint64_t used = layer_->account.used_bytes();
  const std::string new_data = CompressibleBlocks(32).substr(0, 120000);
  int refused = 0;
  for (int n = 0;; ++n) {
    arena_->FailAllocationsAfterForTest(n);
    const Cause cause = Write(700, new_data);
    arena_->FailAllocationsAfterForTest(-1);
    if (cause == Cause::kNone) break;
    ++refused;
    ASSERT_EQ(cause, Cause::kServerLimit);
    ASSERT_TRUE(Read(0, old_data.size()) == old_data) << n;
    MakeCold(0);
    MakeCold(1);
    ASSERT_EQ(layer_->account.used_bytes(), used) << n;
  }
  EXPECT_GT(refused, 3);
  EXPECT_TRUE(Read(700, new_data.size()) == new_data);
}

TEST_F(WriterTest, TellsWhichLimitRefuses) {
  layer_->account.set_limit_bytes(1 << 20);
  Cause cause = Cause::kNone;
  for (uint64_t at = 0; cause == Cause::kNone; at += kBlockBytes) {
    cause = Write(at, Incompressible());
  }
  EXPECT_EQ(cause, Cause::kVolumeLimit);
}

TEST_F(WriterTest, AFrameThatIsMostlyOverwrittenIsAskedToBeMadeAnew) {
  ASSERT_EQ(Write(0, CompressibleBlocks(4)), Cause::kNone);
  ASSERT_EQ(Write(0, CompressibleBlocks(1)), Cause::kNone);
  EXPECT_FALSE(engine_.RunOneRequest());
  ASSERT_EQ(Write(kBlockBytes, CompressibleBlocks(1)), Cause::kNone);
  EXPECT_TRUE(engine_.RunOneRequest());
  EXPECT_THAT(worker_.rewritten,
              ElementsAre(Pair(0, RewriteReason::kMostlyDead)));
}

TEST_F(WriterTest, WritesNothingPastAnEndThatMoved) {
  Shrink(kChunkBytes);
  EXPECT_EQ(Write(kChunkBytes, "x"), Cause::kShrunk);
  EXPECT_EQ(layer_->account.used_bytes(), 0u);
}

}  // namespace
}  // namespace ramvol::engine
