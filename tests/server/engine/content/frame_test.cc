#include "server/engine/content/frame.h"

#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include "gtest/gtest.h"
#include "server/engine/content/codec.h"
#include "server/engine/memory/account.h"
#include "server/engine/memory/arena.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {
namespace {

class FrameTest : public ::testing::Test {
 protected:
  // A frame of four blocks, of which `noise` bytes do not compress.
  Frame* Make(size_t noise) {
    std::mt19937 random(3);
    content_.assign(4 * kBlockBytes, 'x');
    for (size_t i = 0; i < noise; ++i)
      content_[i] = static_cast<char>(random());
    std::string compressed(content_.size(), '\0');
    const size_t size = codec::Compress(
        content_, 1, absl::MakeSpan(compressed.data(), compressed.size()));
    EXPECT_GT(size, 0u);
    return NewFrame(account_, Priority::kNormal, 0x00f0,
                    codec::Checksum(content_), {compressed.data(), size});
  }
  std::string Content(const Frame& frame) {
    std::string out(frame.content_bytes(), '?');
    return ReadFrame(*arena_, frame, absl::MakeSpan(out)) ? out : "damaged";
  }

  const std::unique_ptr<Arena> arena_ = *Arena::Create(16 << 20);
  Account account_{*arena_, 0};
  std::string content_;
};

TEST_F(FrameTest, HoldsItsContentInOnePieceOrInPagesAndATail) {
  for (const size_t noise : {100, 3000, 5000, 12000}) {
    Frame* frame = Make(noise);
    ASSERT_NE(frame, nullptr);
    EXPECT_EQ(frame->page_count(), frame->stored / kPageBytes);
    EXPECT_TRUE(Content(*frame) == content_) << noise;
    EXPECT_EQ(account_.used_bytes(), frame->ChargedBytes());
    ReleaseFrame(account_, frame);
    EXPECT_EQ(account_.used_bytes(), 0u);
  }
}

TEST_F(FrameTest, ACopyHoldsTheSameAndRemembersTheSame) {
  Frame* frame = Make(5000);
  frame->merged = true;
  frame->Touch();
  Frame* copy = CopyFrame(account_, Priority::kNormal, *frame);
  ASSERT_NE(copy, nullptr);
  EXPECT_TRUE(copy->merged);
  EXPECT_EQ(copy->heat, frame->heat);
  ReleaseFrame(account_, frame);
  EXPECT_TRUE(Content(*copy) == content_);
  ReleaseFrame(account_, copy);
}

TEST_F(FrameTest, TakesNothingWhenMemoryIsShort) {
  for (int n = 0; n < 2; ++n) {
    arena_->FailAllocationsAfterForTest(n);
    EXPECT_EQ(Make(5000), nullptr);
    arena_->FailAllocationsAfterForTest(-1);
    EXPECT_EQ(account_.used_bytes(), 0u);
  }
}

TEST_F(FrameTest, FindsABitThatFlipped) {
  Frame* frame = Make(5000);
  arena_->PageData(frame->pages()[0])[1000] ^= 4;
  EXPECT_EQ(Content(*frame), "damaged");
  ReleaseFrame(account_, frame);
}

TEST_F(FrameTest, ItsReadersKeepItsMemory) {
  Frame* frame = Make(100);
  RefFrame(frame);
  ReleaseFrame(account_, frame);
  EXPECT_EQ(account_.used_bytes(), 0u);
  EXPECT_TRUE(Content(*frame) == content_);
  UnrefFrame(*arena_, frame);
}

TEST(FrameShapeTest, KnowsItsSpanItsPlacesAndItsDeadPart) {
  Frame frame{};
  frame.blocks = 0x00f0;
  EXPECT_EQ(frame.SpanLog2(), 2);
  EXPECT_EQ(frame.OffsetOf(6), 2 * kBlockBytes);
  EXPECT_FALSE(frame.MostlyDead(0x0070));
  EXPECT_TRUE(frame.MostlyDead(0x0030));
  frame.blocks = 0x0018;
  EXPECT_EQ(frame.SpanLog2(), 3) << "across the middle of a run of eight";
  frame.blocks = 0x0100;
  EXPECT_EQ(frame.SpanLog2(), 0);
}

TEST(FrameShapeTest, CountsTouchesUpToABound) {
  Frame frame{};
  EXPECT_EQ(frame.Touch(), 1);
  EXPECT_EQ(frame.Touch(), 2);
  for (int i = 0; i < 200; ++i) frame.Touch();
  EXPECT_EQ(frame.Touch(), 127);
  EXPECT_NE(frame.heat & Frame::kYoung, 0);
}

}  // namespace
}  // namespace ramvol::engine
