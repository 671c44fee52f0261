#include "server/engine/volume/piece_writer.h"

#include <cstdint>
#include <string>

#include "gtest/gtest.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/frame.h"
#include "server/engine/content/refusal.h"
#include "server/engine/types/blocks.h"
#include "server/engine/volume/piece_write.h"
#include "tests/server/engine/volume/requests_fixture.h"

namespace ramvol::engine {
namespace {

class PieceWriterTest : public RequestsTest {
 protected:
  // A write of `data` at `begin` of chunk 0.
  void SetUpPiece(size_t begin, const std::string& data) {
    piece_.SetRange(0, begin, begin + data.size());
    piece_.data = data.data();
    piece_.max_span = 4;
  }

  PieceWrite piece_{*arena_, layer_};
};

TEST_F(PieceWriterTest, OnlyTheBlocksAtTheEndsArePartial) {
  piece_.SetRange(7, 100, 3 * kBlockBytes + 1);
  EXPECT_EQ(piece_.touched, 0b1111);
  EXPECT_EQ(piece_.partial, 0b1001);
  EXPECT_EQ(piece_.EndOffset(), 7 * kChunkBytes + 3 * kBlockBytes + 1);
}

TEST_F(PieceWriterTest, AnAlignedRangeHasNoPartialBlocks) {
  piece_.SetRange(0, kBlockBytes, 2 * kBlockBytes);
  EXPECT_EQ(piece_.touched, 0b10);
  EXPECT_EQ(piece_.partial, 0);
}

TEST_F(PieceWriterTest, WhatIsPreparedIsNotSeenAndDiscardFreesIt) {
  const std::string old_data = CompressibleBlocks(8);
  ASSERT_EQ(Write(0, old_data), Cause::kNone);
  const uint64_t used = layer_->account.used_bytes();
  const std::string new_data = CompressibleBlocks(6);
  SetUpPiece(10, new_data);
  ASSERT_TRUE(pieces_.Prepare(1, &piece_).ok());
  EXPECT_GT(layer_->account.used_bytes(), used);
  EXPECT_TRUE(Read(0, old_data.size()) == old_data);
  pieces_.Discard(&piece_);
  EXPECT_EQ(layer_->account.used_bytes(), used);
}

TEST_F(PieceWriterTest, AWriteInBetweenToAPartOfABlockIsKept) {
  std::string all = CompressibleBlocks(1);
  ASSERT_EQ(Write(0, all), Cause::kNone);
  const std::string end(100, 'e');
  SetUpPiece(kBlockBytes - end.size(), end);
  ASSERT_TRUE(pieces_.Prepare(1, &piece_).ok());
  ASSERT_EQ(Write(0, "begin"), Cause::kNone);
  ASSERT_TRUE(pieces_.Commit(&piece_).ok());
  pieces_.Discard(&piece_);
  all.replace(0, 5, "begin");
  all.replace(kBlockBytes - end.size(), end.size(), end);
  EXPECT_TRUE(Read(0, kBlockBytes) == all);
}

TEST_F(PieceWriterTest, MakingAPartialBlockAgainDoesNotFailForMemory) {
  const std::string zeroes(100, '\0');
  SetUpPiece(0, zeroes);
  ASSERT_TRUE(pieces_.Prepare(1, &piece_).ok());
  // The piece has no page, because it left its block a hole. Now it needs one.
  std::string all = CompressibleBlocks(1);
  ASSERT_EQ(Write(0, all), Cause::kNone);
  arena_->FailAllocationsAfterForTest(0);
  EXPECT_TRUE(pieces_.Commit(&piece_).ok());
  arena_->FailAllocationsAfterForTest(-1);
  pieces_.Discard(&piece_);
  all.replace(0, zeroes.size(), zeroes);
  EXPECT_TRUE(Read(0, kBlockBytes) == all);
}

TEST_F(PieceWriterTest, AVolumeThatShrankMeanwhileRefusesTheCommit) {
  const std::string data = CompressibleBlocks(2);
  SetUpPiece(0, data);
  ASSERT_TRUE(pieces_.Prepare(1, &piece_).ok());
  Shrink(kBlockBytes);
  EXPECT_EQ(pieces_.Commit(&piece_).cause, Cause::kShrunk);
  pieces_.Discard(&piece_);
  EXPECT_EQ(layer_->account.used_bytes(), 0u);
}

TEST_F(PieceWriterTest, ADamagedBlockCannotBeWrittenInPart) {
  const std::string old_data = CompressibleBlocks(4);
  ASSERT_EQ(Write(0, old_data), Cause::kNone);
  ChunkRefs refs(*arena_);
  ASSERT_TRUE(content_.Take(0, 0, BlockBit(0), &refs).ok());
  Frame* const frame = refs.slot(0).frame();
  ASSERT_NE(frame, nullptr);
  frame->checksum ^= 1;
  refs.Clear();
  const std::string data = "data";
  SetUpPiece(100, data);
  EXPECT_EQ(pieces_.Prepare(1, &piece_).cause, Cause::kCorrupt);
  pieces_.Discard(&piece_);
}

TEST_F(PieceWriterTest, ZeroesBecomeWhatThePieceSays) {
  ASSERT_EQ(Write(0, CompressibleBlocks(4)), Cause::kNone);
  const std::string zeroes(3 * kBlockBytes, '\0');
  SetUpPiece(100, zeroes);
  piece_.zero = Slot::OfPattern(0);
  ASSERT_TRUE(pieces_.PrepareZeroes(&piece_).ok());
  ASSERT_TRUE(pieces_.Commit(&piece_).ok());
  pieces_.Discard(&piece_);
  EXPECT_EQ(Count(Gauge::kSameFilledBlocks), 2u)
      << "the blocks at both ends still hold data";
}

}  // namespace
}  // namespace ramvol::engine
