#include "server/engine/background/compactor.h"

#include <cstdint>
#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/background/leaf_work.h"
#include "server/engine/content/home.h"
#include "tests/server/engine/support/volume_parts_fixture.h"

namespace ramvol::engine {
namespace {

class CompactorTest : public VolumePartsTest {
 protected:
  CompactorTest() { worker_.to = &compactor_; }

  // Sixteen dirty blocks that compress, as one of each is in `data_`.
  void FillHot(uint64_t chunk) {
    for (int block = 0; block < kBlocksPerChunk; ++block) {
      data_[block] = Compressible();
      PutHot(chunk, block, data_[block], /*dirty=*/true);
    }
  }
  void ExpectData(uint64_t chunk) {
    for (int block = 0; block < kBlocksPerChunk; ++block) {
      EXPECT_TRUE(ReadBlock(chunk, block) == data_[block]) << block;
    }
  }
  uint64_t FramesOfSpan(int span_log2) const {
    return Count(Gauge::kFrames0, span_log2);
  }
  // Reads parts of the chunk's frames, so often.
  void Touch(uint64_t chunk, int times) {
    content_
        .Look(chunk, 0,
              [&](const ChunkMap& map) {
                map.ForEachFrame([&](Frame* frame, BlockMask) {
                  for (int i = 0; i < times; ++i) frame->Touch();
                });
                return true;
              })
        .Ignore();
  }

  LeafWork leaf_work_{engine_, content_};
  std::string data_[kBlocksPerChunk];
};

TEST_F(CompactorTest, FlushingCompressesWhatIsDirtyAndKeepsItHot) {
  FillHot(1);
  EXPECT_EQ(hot_.dirty_blocks(), 16);
  ASSERT_EQ(hot_.PickDirty().chunk(), 1u);
  Flush(1);
  EXPECT_EQ(hot_.dirty_blocks(), 0);
  EXPECT_EQ(hot_.hot_blocks(), 16);
  EXPECT_EQ(FramesOfSpan(2), 4u) << "frames of 16 KiB";
  ExpectData(1);
  EXPECT_EQ(hot_.PickClean().chunk(), 1u) << "it is linked again";
  Drop(1);
  EXPECT_EQ(hot_.hot_blocks(), 0);
  EXPECT_EQ(hot_.evictions(), 16u);
  ExpectData(1);
  EXPECT_EQ(Stats().compressions, 4u);
}

TEST_F(CompactorTest, WhatDoesNotCompressStaysInItsPages) {
  data_[3] = Incompressible();
  PutHot(0, 3, data_[3], /*dirty=*/true);
  Flush(0);
  EXPECT_EQ(Count(Gauge::kRawBlocks), 1u);
  EXPECT_EQ(hot_.hot_blocks(), 0);
  EXPECT_TRUE(ReadBlock(0, 3) == data_[3]);
}

TEST_F(CompactorTest, AtTheLimitFlushingGivesThePagesBack) {
  FillHot(0);
  const uint64_t rest = kLimitBytes - arena_->used_bytes();
  ASSERT_TRUE(arena_->Reserve(rest, Priority::kGuaranteed));
  arena_->Unreserve(512 << 10);  // Out of the reserve alone.
  Flush(0);
  EXPECT_EQ(hot_.dirty_blocks(), 0);
  EXPECT_EQ(hot_.hot_blocks(), 0);
  ExpectData(0);
}

TEST_F(CompactorTest, WithoutAnyMemoryWhatIsDirtyStaysDirty) {
  FillHot(0);
  ASSERT_EQ(hot_.PickDirty().chunk(), 0u);
  arena_->FailAllocationsAfterForTest(0);
  Flush(0);
  arena_->FailAllocationsAfterForTest(-1);
  EXPECT_EQ(hot_.dirty_blocks(), 16);
  EXPECT_EQ(hot_.PickDirty().chunk(), 0u) << "it is linked again";
  ExpectData(0);
}

TEST_F(CompactorTest, MergesWhatTwoVisitsFindUntouched) {
  FillHot(70);
  Flush(70);
  Drop(70);
  const uint64_t before = layer_->account.used_bytes();
  EXPECT_EQ(leaf_work_.MergeLeaf(0, /*all_cold=*/false, 0), 128u);
  EXPECT_EQ(FramesOfSpan(2), 4u) << "new frames are young";
  EXPECT_EQ(leaf_work_.MergeLeaf(0, /*all_cold=*/false, 0), 128u);
  EXPECT_EQ(FramesOfSpan(2), 0u);
  EXPECT_EQ(FramesOfSpan(4), 1u) << "one frame of 64 KiB";
  EXPECT_EQ(Stats().merged_frames, 4u);
  EXPECT_LT(layer_->account.used_bytes(), before);
  ExpectData(70);
  EXPECT_EQ(leaf_work_.MergeLeaf(128, false, 0), std::nullopt);
}

TEST_F(CompactorTest, WhatIsTouchedBetweenVisitsIsNotMerged) {
  FillHot(0);
  Flush(0);
  Drop(0);
  for (int visit = 0; visit < 4; ++visit) {
    leaf_work_.MergeLeaf(0, /*all_cold=*/false, 0);
    Touch(0, 1);
  }
  EXPECT_EQ(FramesOfSpan(4), 0u);
  EXPECT_EQ(Stats().merged_frames, 0u);
}

TEST_F(CompactorTest, SplitsALargeFrameThatIsReadApart) {
  FillHot(0);
  Flush(0);
  Drop(0);
  leaf_work_.MergeLeaf(0, /*all_cold=*/true, 0);
  ASSERT_EQ(FramesOfSpan(4), 1u);
  Rewrite(0, RewriteReason::kReadApart);
  EXPECT_EQ(FramesOfSpan(4), 1u) << "nobody read it";
  Touch(0, 8);
  Rewrite(0, RewriteReason::kReadApart);
  EXPECT_EQ(FramesOfSpan(4), 0u);
  EXPECT_EQ(FramesOfSpan(2), 4u);
  EXPECT_EQ(Stats().split_frames, 1u);
  ExpectData(0);
}

TEST_F(CompactorTest, MakesAFrameAnewOfWhichMostIsDead) {
  FillHot(0);
  Flush(0);
  Drop(0);
  Zero(0, 0x0003);
  EXPECT_GT(Count(Gauge::kDeadBytes), 0u);
  Rewrite(0, RewriteReason::kMostlyDead);
  EXPECT_EQ(Count(Gauge::kDeadBytes), 0u);
  EXPECT_EQ(totals_.counts.Sum(Total::kRewrittenFrames), 1u);
  data_[0] = data_[1] = std::string(kBlockBytes, '\0');
  ExpectData(0);
}

TEST_F(CompactorTest, ARewriteThatLacksMemoryLeavesTheChunk) {
  FillHot(0);
  Flush(0);
  Drop(0);
  const uint64_t before = layer_->account.used_bytes();
  for (int n = 0; n < 3; ++n) {
    arena_->FailAllocationsAfterForTest(n);
    Rewrite(0, RewriteReason::kCold);
    arena_->FailAllocationsAfterForTest(-1);
    EXPECT_EQ(FramesOfSpan(2), 4u);
    EXPECT_EQ(layer_->account.used_bytes(), before);
  }
  ExpectData(0);
}

TEST_F(CompactorTest, ADamagedFrameStaysForItsReaderToFind) {
  FillHot(0);
  Flush(0);
  Drop(0);
  content_
      .Look(0, 0,
            [](const ChunkMap& map) {
              map.cold[0].frame()->checksum ^= 1;
              return false;
            })
      .Ignore();
  Rewrite(0, RewriteReason::kCold);
  EXPECT_EQ(FramesOfSpan(2), 4u);
  EXPECT_EQ(Stats().corrupt_frames, 1u);
}

TEST_F(CompactorTest, MovesFramesOutOfSparseSlabs) {
  constexpr uint64_t kChunks = 3000;
  std::string kept;
  for (uint64_t chunk = 0; chunk < kChunks; ++chunk) {
    const std::string block = Compressible();
    if (chunk % 10 == 0) kept = block;
    PutHot(chunk, 5, block, /*dirty=*/true);
    Flush(chunk);
    Drop(chunk);
  }
  for (uint64_t chunk = 0; chunk < kChunks; ++chunk) {
    if (chunk % 10 != 0) Zero(chunk, kAllBlocks);
  }
  const uint64_t slack = arena_->slack_bytes();
  ASSERT_TRUE(arena_->StartEvacuation(Evacuation::kTight));
  std::optional<TenantPart> part;
  for (uint64_t key = 0; (part = leaf_work_.FindPart(key)); key = part->end) {
    leaf_work_.MovePart(part->first);
  }
  arena_->EndEvacuation();
  EXPECT_LT(arena_->slack_bytes(), slack / 2);
  EXPECT_EQ(Count(Gauge::kCompressedBlocks), kChunks / 10);
  EXPECT_TRUE(ReadBlock(kChunks - 10, 5) == kept);
}

TEST_F(CompactorTest, AHomeThatHasLostItsChunkIsPassedOver) {
  FillHot(0);
  const Home home = hot_.PickDirty();
  content_.Clear(0, 0);
  compactor_.Flush(home);
  compactor_.DropClean(home);
  compactor_.Rewrite(home, RewriteReason::kCold);
  EXPECT_EQ(hot_.hot_blocks(), 0);
}

TEST_F(CompactorTest, AClosedContentIsNotVisited) {
  FillHot(0);
  {
    StripedWriterLock lock(&content_.lock());
    content_.CloseLocked();
  }
  EXPECT_EQ(leaf_work_.FindPart(0), std::nullopt);
  EXPECT_EQ(leaf_work_.MergeLeaf(0, true, 0), std::nullopt);
}

}  // namespace
}  // namespace ramvol::engine
