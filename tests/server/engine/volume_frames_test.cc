// How content is stored: frames, merging, splitting, rewriting.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/content/codec.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "tests/server/engine/support/volume_fixture.h"
#include "tests/support/random_data.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::Noise;
using ::ramvol::testing::Text;
using ::testing::ElementsAre;

constexpr uint64_t kGiB = uint64_t{1} << 30;

class VolumeFramesTest : public VolumeTest {};

TEST_F(VolumeFramesTest, NoiseIsStoredRaw) {
  Volume& volume = Make(kGiB);
  const std::string noise = Noise(random_, 1 << 20);
  ASSERT_TRUE(Write(volume, 0, noise).ok());
  ASSERT_TRUE(Write(volume, 1 << 21, noise.substr(0, 4096)).ok());
  engine_->QuiesceForTest(true);
  EXPECT_EQ(volume.Stats().raw_blocks, 257u);
  EXPECT_EQ(Read(volume, 0, 1 << 20), noise);
}

TEST_F(VolumeFramesTest, StreamsMakeLargeFramesAndLoneBlocksSmallOnes) {
  Volume& volume = Make(kGiB);
  ASSERT_TRUE(Write(volume, 0, Text(random_, 1 << 20)).ok());
  EXPECT_THAT(volume.Stats().frames, ElementsAre(0, 0, 0, 32, 0));
  ASSERT_TRUE(Write(volume, 1 << 20, Text(random_, 64 << 10)).ok());
  EXPECT_THAT(volume.Stats().frames, ElementsAre(0, 0, 4, 32, 0));
  ASSERT_TRUE(Write(volume, 20480, Text(random_, 4096)).ok());
  engine_->QuiesceForTest(false);
  const VolumeStats stats = volume.Stats();
  EXPECT_THAT(stats.frames, ElementsAre(1, 0, 4, 32, 0));
  EXPECT_EQ(stats.decompressions, 0u) << "a lone overwrite needs no neighbour";
  EXPECT_GT(stats.dead_bytes, 0u);
}

TEST_F(VolumeFramesTest, NeighboursWrittenOneByOneAreCompressedTogether) {
  constexpr auto kSlow = std::chrono::milliseconds(150);
  const std::string data = Text(random_, kChunkBytes);
  uint64_t dirty_blocks = 0;
  for (int tries = 0; dirty_blocks != 16 && tries < 100; ++tries) {
    const auto start = std::chrono::steady_clock::now();
    Restart();
    Make(kGiB);
    for (size_t at = 0; at < data.size(); at += 4096) {
      ASSERT_TRUE(Write(*volume_, at, data.substr(at, 4096)).ok());
    }
    dirty_blocks = volume_->Stats().dirty_blocks;
    // A writer that was slow may have seemed to be quiet meanwhile.
    if (std::chrono::steady_clock::now() - start < kSlow) break;
  }
  ASSERT_EQ(dirty_blocks, 16u);
  engine_->QuiesceForTest(false);
  EXPECT_THAT(volume_->Stats().frames, ElementsAre(0, 0, 4, 0, 0));
  EXPECT_EQ(Read(*volume_, 0, data.size()), data);
}

// Writes for a second, to 4096 blocks in turn. Returns how many, or none if the
// writer had so little of the processor that it seemed to be quiet. `begin` is
// called when it has not seemed so for a while.
uint64_t WriteWithoutPause(const std::function<void(uint64_t)>& write,
                           const std::function<void()>& begin) {
  constexpr auto kPart = std::chrono::milliseconds(50);
  constexpr int kFirst = 6;
  constexpr int kParts = kFirst + 20;
  // Three parts are in any 200 ms, in which a writer of 256 blocks is quiet.
  constexpr uint64_t kFew = 128;
  uint64_t writes = 0;
  for (int i = 0; i < kParts; ++i) {
    if (i == kFirst) begin();
    const uint64_t before = writes;
    const auto end = std::chrono::steady_clock::now() + kPart;
    while (std::chrono::steady_clock::now() < end) write(writes++ % 4096);
    if (writes - before < kFew) return 0;
  }
  return writes;
}

// The number of dirty blocks stays the same meanwhile, as it does at rest.
TEST_F(VolumeFramesTest, WhatIsWrittenAgainAndAgainIsNotCompressedMeanwhile) {
  options_.memory_limit_bytes = 512 << 20;
  options_.hot_cache_bytes = 64 << 20;
  Restart();
  Volume& volume = Make(kGiB);
  const std::string data = Text(random_, 4096);
  uint64_t writes = 0;
  uint64_t before = 0;
  for (int tries = 0; writes == 0 && tries < 300; ++tries) {
    writes = WriteWithoutPause(
        [&](uint64_t block) {
          EXPECT_TRUE(Write(volume, block * 4096, data).ok());
        },
        [&] { before = volume.Stats().compressions; });
  }
  ASSERT_GT(writes, 0);
  EXPECT_LT(volume.Stats().compressions - before,
            std::max<uint64_t>(writes / 100, 200))
      << writes << " writes";
}

TEST_F(VolumeFramesTest, ColdChunksAreMergedAtTheMergingLevel) {
  Volume& volume = Make(kGiB);
  const std::string data = Text(random_, kChunkBytes);
  for (size_t at = 0; at < data.size(); at += 4096) {
    ASSERT_TRUE(Write(volume, at, data.substr(at, 4096)).ok());
    engine_->QuiesceForTest(false);
  }
  EXPECT_THAT(volume.Stats().frames, ElementsAre(16, 0, 0, 0, 0));
  const uint64_t before = volume.Stats().stored_bytes;
  engine_->QuiesceForTest(true);
  EXPECT_THAT(volume.Stats().frames, ElementsAre(0, 0, 0, 0, 1));
  EXPECT_LT(volume.Stats().stored_bytes, before);
  EXPECT_EQ(volume.Stats().merged_frames, 16u);
  EXPECT_EQ(Read(volume, 0, data.size()), data);
}

TEST_F(VolumeFramesTest, MostlyDeadFramesAreRewritten) {
  Volume& volume = Make(kGiB);
  std::string data = Text(random_, kChunkBytes);
  ASSERT_TRUE(Write(volume, 0, data).ok());
  ASSERT_TRUE(volume.Trim(0, 12 * 4096).ok());
  std::fill_n(data.begin(), 12 * 4096, '\0');
  // The background threads take it from here.
  for (int i = 0; i < 1000 && volume.Stats().dead_bytes > 0; ++i) {
    engine_->QuiesceForTest(true);
  }
  EXPECT_EQ(volume.Stats().dead_bytes, 0u);
  EXPECT_EQ(Read(volume, 0, data.size()), data);
}

TEST_F(VolumeFramesTest, MostlyDeadFramesGoThoughWhatIsLeftDoesNotCompress) {
  Volume& volume = Make(kGiB);
  std::string data = Noise(random_, kChunkBytes);
  for (size_t at = 4096; at < data.size(); at += 4096) {
    std::fill_n(data.begin() + at, 2048, 'a');
  }
  ASSERT_TRUE(Write(volume, 0, data).ok());
  EXPECT_THAT(volume.Stats().frames, ElementsAre(0, 0, 4, 0, 0));
  ASSERT_TRUE(volume.Trim(4096, 15 * 4096).ok());
  for (int i = 0; i < 1000 && volume.Stats().dead_bytes > 0; ++i) {
    engine_->QuiesceForTest(true);
  }
  EXPECT_EQ(volume.Stats().dead_bytes, 0u);
  EXPECT_EQ(volume.Stats().raw_blocks, 1u);
  EXPECT_EQ(Read(volume, 0, 4096), data.substr(0, 4096));
}

TEST_F(VolumeFramesTest, FixedFramesHoldTheirWholeRun) {
  VolumeOptions options;
  options.name = "fixed";
  options.size_bytes = kGiB;
  options.min_frame_bytes = options.max_frame_bytes = 16384;
  Volume& volume = Make(options);
  const std::string data = Text(random_, kChunkBytes);
  ASSERT_TRUE(Write(volume, 0, data).ok());
  EXPECT_THAT(volume.Stats().frames, ElementsAre(0, 0, 4, 0, 0));
  ASSERT_TRUE(Write(volume, 4096, Text(random_, 4096)).ok());
  engine_->QuiesceForTest(true);
  EXPECT_THAT(volume.Stats().frames, ElementsAre(0, 0, 4, 0, 0));
  EXPECT_EQ(volume.Stats().dead_bytes, 0u);
}

TEST_F(VolumeFramesTest, FramesReadApartAreSplitOnce) {
  options_.hot_cache_bytes = kMinHotCacheBytes;
  Restart();
  Volume& volume = Make(kGiB);
  ASSERT_TRUE(Write(volume, 0, Text(random_, 4 << 20)).ok());
  for (int i = 0; i < 30000; ++i) {
    Read(volume, random_() % 1024 * 4096, 4096);
  }
  EXPECT_GT(volume.Stats().split_frames, 0u);
  EXPECT_LE(volume.Stats().split_frames, 128u);
}

TEST_F(VolumeFramesTest, FailedCompressionStoresRaw) {
  Volume& volume = Make(kGiB);
  const std::string data = Text(random_, 300000);
  codec::FailCompressionsAfterForTest(1);
  ASSERT_TRUE(Write(volume, 0, data).ok());
  ASSERT_TRUE(Write(volume, kGiB / 2, data.substr(0, 4096)).ok());
  engine_->QuiesceForTest(true);
  codec::FailCompressionsAfterForTest(-1);
  EXPECT_EQ(Read(volume, 0, data.size()), data);
  EXPECT_EQ(Read(volume, kGiB / 2, 4096), data.substr(0, 4096));
  EXPECT_GT(volume.Stats().raw_blocks, 0u);
}

TEST_F(VolumeFramesTest, SparseVolumeStoresRaw) {
  Volume& volume = Make(kGiB, Allocator::kSparse);
  const std::string data = Text(random_, 100000);
  ASSERT_TRUE(Write(volume, 1000, data).ok());
  EXPECT_EQ(Read(volume, 1000, data.size()), data);
  const VolumeStats stats = volume.Stats();
  EXPECT_EQ(stats.raw_blocks, 25u);
  EXPECT_EQ(stats.compressions, 0u);
}

}  // namespace
}  // namespace ramvol::engine
