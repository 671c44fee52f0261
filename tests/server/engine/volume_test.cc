#include "server/engine/volume.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/content/codec.h"
#include "server/engine/engine.h"
#include "tests/support/random_data.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::Noise;
using ::ramvol::testing::Text;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kTiB = uint64_t{1} << 40;

class VolumeTest : public ::testing::Test {
 protected:
  VolumeTest() {
    options_.memory_limit_bytes = 64 << 20;
    options_.merge_interval_ms = 3600000;
    Restart();
  }

  void Restart() {
    volume_.reset();
    engine_.reset();
    engine_ = *Engine::Create(options_);
  }

  Volume& Make(uint64_t size, Allocator allocator = Allocator::kZstd) {
    VolumeOptions options;
    options.name = "v";
    options.size_bytes = size;
    options.allocator = allocator;
    return Make(options);
  }
  Volume& Make(const VolumeOptions& options) {
    auto volume = engine_->CreateVolume(options);
    EXPECT_TRUE(volume.ok()) << volume.status();
    volume_ = *volume;
    return *volume_;
  }

  static absl::Status Write(Volume& volume, uint64_t offset,
                            const std::string& data) {
    return volume.Write(offset, absl::MakeConstSpan(data.data(), data.size()));
  }
  static std::string Read(Volume& volume, uint64_t offset, size_t length) {
    std::string data(length, 'x');
    const absl::Status status = volume.Read(offset, absl::MakeSpan(data));
    return status.ok() ? data : status.ToString();
  }
  static std::vector<Extent> AllExtents(Volume& volume) {
    return volume.GetExtents(0, volume.size_bytes(), 1000)->extents;
  }

  EngineOptions options_;
  std::unique_ptr<Engine> engine_;
  std::shared_ptr<Volume> volume_;
  std::mt19937_64 random_{7};
};

TEST_F(VolumeTest, ReadsBackWhatWasWrittenAtEveryBoundary) {
  Volume& volume = Make(4 * kChunkBytes + 5);
  const std::vector<uint64_t> edges = {0,      1,      4095,   4096,  4097,
                                       65535,  65536,  65537,  69632, 131071,
                                       131072, 262143, 262144, 262148};
  for (uint64_t begin : edges) {
    for (uint64_t end : edges) {
      if (end <= begin) continue;
      const std::string data = Text(random_, end - begin);
      ASSERT_TRUE(Write(volume, begin, data).ok());
      ASSERT_EQ(Read(volume, begin, data.size()), data) << begin << ' ' << end;
    }
  }
}

TEST_F(VolumeTest, AcceptsNothingAndTheLastByte) {
  Volume& volume = Make(1);
  EXPECT_TRUE(Write(volume, 0, "").ok());
  EXPECT_TRUE(Write(volume, 1, "").ok());
  EXPECT_TRUE(volume.Trim(1, 0).ok());
  EXPECT_TRUE(Write(volume, 0, "z").ok());
  EXPECT_EQ(Read(volume, 0, 1), "z");
}

TEST_F(VolumeTest, RefusesRangesPastTheEndAndNamesThem) {
  Volume& volume = Make(10000);
  const uint64_t kHuge = std::numeric_limits<uint64_t>::max();
  std::string out(8, 'x');
  const absl::Status past = volume.Read(9993, absl::MakeSpan(out));
  EXPECT_EQ(past.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(past.message()),
              AllOf(HasSubstr("8 bytes"), HasSubstr("9993"), HasSubstr("10000"),
                    HasSubstr("\"v\"")));
  EXPECT_EQ(GetReason(past), reason::kPastEnd);
  for (uint64_t offset : {uint64_t{10000}, kHuge - 3, kHuge}) {
    EXPECT_EQ(Write(volume, offset, "12345678").code(),
              absl::StatusCode::kOutOfRange);
    EXPECT_EQ(volume.Trim(offset, 8).code(), absl::StatusCode::kOutOfRange);
    EXPECT_EQ(volume.WriteZeroes(8, offset, true).code(),
              absl::StatusCode::kOutOfRange);
    EXPECT_EQ(volume.GetExtents(offset, 8, 1).status().code(),
              absl::StatusCode::kOutOfRange);
  }
  EXPECT_EQ(volume.Stats().failed_operations, 1u + 3 * 4);
}

TEST_F(VolumeTest, OfGreatestSizeCostsKilobytesAndHoldsItsLastByte) {
  const uint64_t before = engine_->Stats().memory_used_bytes;
  Volume& volume = Make(kMaxVolumeBytes);
  EXPECT_LE(engine_->Stats().memory_used_bytes - before, 64u << 10);
  const uint64_t empty = volume.Stats().memory_bytes;
  const uint64_t last = kMaxVolumeBytes - 1;
  ASSERT_TRUE(Write(volume, last, "!").ok());
  EXPECT_EQ(Read(volume, last, 1), "!");
  EXPECT_EQ(Read(volume, last - 5, 6), std::string(5, '\0') + "!");
  EXPECT_LE(volume.Stats().memory_bytes, 32u << 10);
  EXPECT_THAT(AllExtents(volume),
              ElementsAre(Extent{0, last - 4094, true},
                          Extent{last - 4094, 4095, false}));
  ASSERT_TRUE(volume.Trim(0, kMaxVolumeBytes).ok());
  EXPECT_EQ(Read(volume, last, 1), std::string(1, '\0'));
  EXPECT_EQ(volume.Stats().logical_bytes, 0u);
  EXPECT_EQ(volume.Stats().memory_bytes, empty);
}

TEST_F(VolumeTest, ZeroesBecomeHolesAndPatternsTakeNoData) {
  Volume& volume = Make(kGiB);
  ASSERT_TRUE(Write(volume, 0, std::string(1 << 20, '\0')).ok());
  EXPECT_EQ(volume.Stats().logical_bytes, 0u);
  ASSERT_TRUE(Write(volume, 0, std::string(1 << 20, '\xff')).ok());
  EXPECT_EQ(volume.Stats().same_filled_blocks, 256u);
  EXPECT_EQ(volume.Stats().stored_bytes, 0u);
  EXPECT_EQ(Read(volume, 5000, 10000), std::string(10000, '\xff'));
  ASSERT_TRUE(Write(volume, 8192, std::string(4096, '\0')).ok());
  EXPECT_THAT(AllExtents(volume),
              ElementsAre(Extent{0, 8192, false}, Extent{8192, 4096, true},
                          Extent{12288, (1 << 20) - 12288, false},
                          Extent{1 << 20, kGiB - (1 << 20), true}));
}

TEST_F(VolumeTest, AnUnalignedWriteThatLeavesOnlyZeroesMakesAHole) {
  Volume& volume = Make(kGiB);
  ASSERT_TRUE(Write(volume, 100, "abc").ok());
  EXPECT_EQ(volume.Stats().logical_bytes, 4096u);
  ASSERT_TRUE(Write(volume, 100, std::string(3, '\0')).ok());
  EXPECT_EQ(volume.Stats().logical_bytes, 0u);
}

TEST_F(VolumeTest, WriteZeroesKeepsTheRangeAllocatedWhenAsked) {
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
TEST_F(VolumeTest, ZeroAcrossAnEmptyRegionKeepsWhatIsBeforeIt) {
  Volume& volume = Make(kGiB);
  const uint64_t offset = (128 << 20) - 100000;
  const std::string data = Text(random_, 50000);
  ASSERT_TRUE(Write(volume, offset, data).ok());
  ASSERT_TRUE(volume.WriteZeroes(offset + 50000, 200 << 20, false).ok());
  EXPECT_EQ(Read(volume, offset, 60000), data + std::string(10000, '\0'));
}

TEST_F(VolumeTest, NoiseIsStoredRaw) {
  Volume& volume = Make(kGiB);
  const std::string noise = Noise(random_, 1 << 20);
  ASSERT_TRUE(Write(volume, 0, noise).ok());
  ASSERT_TRUE(Write(volume, 1 << 21, noise.substr(0, 4096)).ok());
  engine_->QuiesceForTest(true);
  EXPECT_EQ(volume.Stats().raw_blocks, 257u);
  EXPECT_EQ(Read(volume, 0, 1 << 20), noise);
}

TEST_F(VolumeTest, StreamsMakeLargeFramesAndLoneBlocksSmallOnes) {
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

TEST_F(VolumeTest, NeighboursWrittenOneByOneAreCompressedTogether) {
  Volume& volume = Make(kGiB);
  const std::string data = Text(random_, kChunkBytes);
  for (size_t at = 0; at < data.size(); at += 4096) {
    ASSERT_TRUE(Write(volume, at, data.substr(at, 4096)).ok());
  }
  EXPECT_EQ(volume.Stats().dirty_blocks, 16u);
  engine_->QuiesceForTest(false);
  EXPECT_THAT(volume.Stats().frames, ElementsAre(0, 0, 4, 0, 0));
  EXPECT_EQ(Read(volume, 0, data.size()), data);
}

// The number of dirty blocks stays the same meanwhile, as it does at rest.
TEST_F(VolumeTest, WhatIsWrittenAgainAndAgainIsNotCompressedMeanwhile) {
  options_.memory_limit_bytes = 512 << 20;
  options_.hot_cache_bytes = 64 << 20;
  Restart();
  Volume& volume = Make(kGiB);
  const std::string data = Text(random_, 4096);
  const auto start = std::chrono::steady_clock::now();
  uint64_t writes = 0;
  while (std::chrono::steady_clock::now() - start < std::chrono::seconds(1)) {
    ASSERT_TRUE(Write(volume, writes++ % 4096 * 4096, data).ok());
  }
  EXPECT_LT(volume.Stats().compressions, std::max<uint64_t>(writes / 100, 200))
      << writes << " writes";
}

TEST_F(VolumeTest, ColdChunksAreMergedAtTheMergingLevel) {
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

TEST_F(VolumeTest, MostlyDeadFramesAreRewritten) {
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

TEST_F(VolumeTest, FixedFramesHoldTheirWholeRun) {
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

TEST_F(VolumeTest, ReadOnlyRefusesChangesUntilItIsSwitchedOff) {
  VolumeOptions options;
  options.name = "v";
  options.size_bytes = kGiB;
  options.read_only = true;
  Volume& volume = Make(options);
  EXPECT_EQ(Write(volume, 0, "x").code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetReason(volume.Trim(0, 1)), reason::kVolumeReadOnly);
  EXPECT_EQ(volume.WriteZeroes(0, 1, false).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Read(volume, 0, 1), std::string(1, '\0'));
  VolumeUpdate update;
  update.read_only = false;
  ASSERT_TRUE(volume.Update(update).ok());
  EXPECT_TRUE(Write(volume, 0, "x").ok());
}

TEST_F(VolumeTest, WhatAShrinkCutsOffStaysGone) {
  Volume& volume = Make(kMaxVolumeBytes);
  const std::string data = Text(random_, 300000);
  ASSERT_TRUE(Write(volume, 0, data).ok());
  ASSERT_TRUE(Write(volume, kTiB, data).ok());
  VolumeUpdate update;
  update.size_bytes = 100001;
  ASSERT_TRUE(volume.Update(update).ok());
  EXPECT_EQ(Read(volume, 0, 100001), data.substr(0, 100001));
  EXPECT_EQ(Write(volume, 100001, "x").code(), absl::StatusCode::kOutOfRange);
  update.size_bytes = 2 * kTiB;
  ASSERT_TRUE(volume.Update(update).ok());
  EXPECT_EQ(Read(volume, 0, 300000),
            data.substr(0, 100001) + std::string(199999, '\0'));
  EXPECT_EQ(Read(volume, kTiB, 300000), std::string(300000, '\0'));
  EXPECT_EQ(volume.size_bytes(), 2 * kTiB);
}

TEST_F(VolumeTest, GrowsFromOneByteToTheGreatestSize) {
  Volume& volume = Make(1);
  ASSERT_TRUE(Write(volume, 0, "a").ok());
  for (uint64_t size :
       {uint64_t{4097}, uint64_t{70000}, 100 * kGiB, kMaxVolumeBytes}) {
    VolumeUpdate update;
    update.size_bytes = size;
    ASSERT_TRUE(volume.Update(update).ok());
    ASSERT_TRUE(Write(volume, size - 1, "z").ok());
    EXPECT_EQ(Read(volume, size - 1, 1), "z");
    EXPECT_EQ(Read(volume, 0, 1), "a");
  }
}

TEST_F(VolumeTest, UpdateChangesAllOrNothing) {
  Volume& volume = Make(kGiB);
  VolumeUpdate update;
  update.size_bytes = 2 * kGiB;
  update.write_level = 99;
  const absl::Status status = volume.Update(update);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("99"));
  EXPECT_EQ(volume.size_bytes(), kGiB);
}

TEST_F(VolumeTest, DeletedVolumeGivesMemoryBackAndAnswersNotFound) {
  const uint64_t before = engine_->Stats().memory_allocated_bytes;
  Volume& volume = Make(kGiB);
  ASSERT_TRUE(Write(volume, 0, Text(random_, 8 << 20)).ok());
  ASSERT_TRUE(Write(volume, kGiB / 2, Text(random_, 4096)).ok());
  ASSERT_TRUE(engine_->DeleteVolume(volume_, false).ok());
  EXPECT_EQ(engine_->Stats().memory_allocated_bytes, before);
  std::string out(10, 'x');
  const absl::Status status = volume.Read(0, absl::MakeSpan(out));
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetReason(status), reason::kVolumeDeleted);
  EXPECT_EQ(Write(volume, 0, "x").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(volume.Flush().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(volume.Attach({}, false).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(engine_->DeleteVolume(volume_, false).code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(engine_->Find("v").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(VolumeTest, CorruptFrameIsDataLossAndHarmsNoOther) {
  Volume& volume = Make(kGiB);
  const std::string data = Text(random_, 2 * kChunkBytes);
  ASSERT_TRUE(Write(volume, 0, data).ok());
  ASSERT_TRUE(volume.CorruptForTest(70000));
  std::string out(10, 'x');
  const absl::Status status = volume.Read(70000, absl::MakeSpan(out));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(GetReason(status), reason::kCorruptFrame);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("65536"), HasSubstr("\"v\"")));
  EXPECT_EQ(volume.Stats().corrupt_frames, 1u);
  EXPECT_EQ(Read(volume, 0, kChunkBytes), data.substr(0, kChunkBytes));
  // Needs the damaged frame for its edges; says so and changes nothing.
  EXPECT_EQ(Write(volume, 70000, "x").code(), absl::StatusCode::kDataLoss);
  engine_->QuiesceForTest(true);
  // Whole blocks need nothing old; once all are new the damage is gone.
  ASSERT_TRUE(Write(volume, kChunkBytes, data.substr(0, kChunkBytes)).ok());
  EXPECT_EQ(Read(volume, kChunkBytes, kChunkBytes),
            data.substr(0, kChunkBytes));
}

TEST_F(VolumeTest, WriteThatFailsForMemoryChangesNothing) {
  Volume& volume = Make(kGiB);
  const std::string old_data = Text(random_, 1 << 20);
  ASSERT_TRUE(Write(volume, 1000, old_data).ok());
  ASSERT_TRUE(Write(volume, 500, Text(random_, 100)).ok());
  const std::string all = Read(volume, 0, 2 << 20);
  const std::string new_data = ramvol::testing::RandomData(random_, 700000);
  // Whichever allocation fails, all of the old data is there.
  int failures = 0;
  for (int n = 0; n < 2000; ++n) {
    engine_->FailAllocationsAfterForTest(n);
    const absl::Status status = Write(volume, 3000, new_data);
    engine_->FailAllocationsAfterForTest(-1);
    if (status.ok()) break;
    ++failures;
    ASSERT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    ASSERT_EQ(Read(volume, 0, 2 << 20), all) << "after allocation " << n;
  }
  EXPECT_GT(failures, 5);
  EXPECT_EQ(Read(volume, 3000, new_data.size()), new_data);
}

TEST_F(VolumeTest, FailedCompressionStoresRaw) {
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

TEST_F(VolumeTest, MemoryLimitHoldsAndAcknowledgedDataStays) {
  options_.memory_limit_bytes = 16 << 20;
  Restart();
  Volume& volume = Make(kTiB);
  std::vector<std::string> written;
  absl::Status status;
  for (uint64_t at = 0; status.ok(); at += 100000) {
    const std::string data = Noise(random_, 50000);
    status = Write(volume, at, data);
    if (status.ok()) written.push_back(data);
    ASSERT_LE(engine_->Stats().memory_used_bytes, 16u << 20);
    ASSERT_LT(written.size(), 1000u) << "the limit never bit";
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetReason(status), reason::kServerMemoryLimit);
  EXPECT_GT(written.size() * 50000, 12u << 20);
  for (size_t i = 0; i < written.size(); ++i) {
    ASSERT_EQ(Read(volume, i * 100000, 50000), written[i]);
  }
  // A trim works at the limit, an unaligned one too, and makes room.
  ASSERT_TRUE(volume.Trim(1234, 1000000).ok());
  EXPECT_TRUE(Write(volume, 0, Noise(random_, 200000)).ok());
}

TEST_F(VolumeTest, VolumeLimitBitesForThatVolumeOnly) {
  VolumeOptions options;
  options.name = "small";
  options.size_bytes = kGiB;
  options.memory_limit_bytes = 1 << 20;
  Volume& small = Make(options);
  const std::shared_ptr<Volume> keep = volume_;
  absl::Status status;
  uint64_t at = 0;
  for (; status.ok() && at < (10 << 20); at += 4096) {
    status = Write(small, at, Noise(random_, 4096));
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetReason(status), reason::kVolumeMemoryLimit);
  EXPECT_GT(at, 800u << 10);
  EXPECT_TRUE(Write(Make(kGiB), 0, Noise(random_, 4 << 20)).ok());
}

TEST_F(VolumeTest, RefusalsForMemoryNameTheRequest) {
  VolumeOptions options;
  options.name = "v";
  options.size_bytes = kGiB;
  options.memory_limit_bytes = 1 << 20;
  Volume& volume = Make(options);
  for (uint64_t at = 0; Write(volume, at, Noise(random_, kBlockBytes)).ok();) {
    at += kBlockBytes;
  }
  // Each begins within a block and takes new parts of the index.
  uint64_t offset = kGiB / 2 - 100;
  absl::Status zeroes;
  for (; zeroes.ok() && offset < kGiB; offset += 4 << 20) {
    zeroes = volume.WriteZeroes(offset, 200000, true);
  }
  offset -= 4 << 20;
  EXPECT_EQ(zeroes.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(zeroes.message(),
              HasSubstr(absl::StrCat(
                  "write of zeroes of 200000 bytes at offset ", offset)));
  EXPECT_TRUE(HasReason(zeroes, reason::kVolumeMemoryLimit)) << zeroes;
  const absl::Status write = Write(volume, offset, Noise(random_, 150));
  EXPECT_EQ(write.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(write.message()),
              HasSubstr(absl::StrCat("write of 150 bytes at offset ", offset)));
  EXPECT_TRUE(HasReason(write, reason::kVolumeMemoryLimit)) << write;
}

TEST_F(VolumeTest, CompressibleWritesGoOnFarBeyondTheLimit) {
  VolumeOptions options;
  options.name = "v";
  options.size_bytes = kGiB;
  options.memory_limit_bytes = 2 << 20;
  Volume& volume = Make(options);
  // Dirty blocks are compressed when the limit comes near, not refused.
  for (uint64_t at = 0; at < (6 << 20); at += 4096) {
    ASSERT_TRUE(Write(volume, at, std::string(4095, 'a' + at % 7) + "b").ok());
  }
  EXPECT_LE(volume.Stats().memory_bytes, (2u << 20) + 8192);
}

TEST_F(VolumeTest, MallocVolumeReservesItsMemoryAndNeverLacksAny) {
  options_.memory_limit_bytes = 32 << 20;
  Restart();
  Volume& reserved = Make(16 << 20, Allocator::kMalloc);
  const std::shared_ptr<Volume> keep = volume_;
  EXPECT_GE(reserved.Stats().memory_bytes, 16u << 20);
  VolumeOptions other;
  other.name = "greedy";
  other.size_bytes = kGiB;
  Volume& greedy = Make(other);
  absl::Status status;
  for (uint64_t at = 0; status.ok(); at += 65536) {
    status = Write(greedy, at, Noise(random_, 65536));
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  for (int round = 0; round < 2; ++round) {
    for (uint64_t at = 0; at < 16 << 20; at += 1 << 20) {
      ASSERT_TRUE(Write(reserved, at, Noise(random_, 1 << 20)).ok());
    }
  }
  // What a trim frees stays reserved.
  ASSERT_TRUE(reserved.Trim(0, 16 << 20).ok());
  EXPECT_EQ(Write(greedy, 0, Noise(random_, 4 << 20)).code(),
            absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(Write(reserved, 0, Noise(random_, 16 << 20)).ok());
  VolumeOptions too_large;
  too_large.name = "toolarge";
  too_large.size_bytes = 16 << 20;
  too_large.allocator = Allocator::kMalloc;
  EXPECT_EQ(engine_->CreateVolume(too_large).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(VolumeTest, SparseVolumeStoresRaw) {
  Volume& volume = Make(kGiB, Allocator::kSparse);
  const std::string data = Text(random_, 100000);
  ASSERT_TRUE(Write(volume, 1000, data).ok());
  EXPECT_EQ(Read(volume, 1000, data.size()), data);
  const VolumeStats stats = volume.Stats();
  EXPECT_EQ(stats.raw_blocks, 25u);
  EXPECT_EQ(stats.compressions, 0u);
}

// A golden figure: raising it needs a reason.
TEST_F(VolumeTest, IndexTakesFewBytesForEachChunk) {
  Volume& volume = Make(kTiB);
  const uint64_t empty = volume.Stats().memory_bytes;
  for (int i = 0; i < 64; ++i) {
    const std::string data = Text(random_, kChunkBytes);
    ASSERT_TRUE(Write(volume, i * kChunkBytes, data).ok());
  }
  engine_->QuiesceForTest(true);
  const VolumeStats stats = volume.Stats();
  EXPECT_THAT(stats.frames, ElementsAre(0, 0, 0, 0, 64));
  EXPECT_LE(stats.memory_bytes - empty - stats.stored_bytes, 64u * 120)
      << "leaf, nodes, frame headers and rounding";
  // One block in each of 1,024 distant regions.
  VolumeOptions options;
  options.name = "distant";
  options.size_bytes = kTiB;
  Volume& distant = Make(options);
  for (uint64_t i = 0; i < 1024; ++i) {
    ASSERT_TRUE(Write(distant, i * kGiB, Text(random_, 4096)).ok());
  }
  engine_->QuiesceForTest(true);
  const VolumeStats sparse = distant.Stats();
  EXPECT_LE(sparse.memory_bytes - sparse.hot_bytes - sparse.stored_bytes,
            1024u * 1500);
}

TEST_F(VolumeTest, ExtentsStopAtTheirNumberAndGoOn) {
  Volume& volume = Make(kGiB);
  for (uint64_t at = 0; at < 100; ++at) {
    ASSERT_TRUE(Write(volume, at * 8192, "x").ok());
  }
  uint64_t at = 0;
  std::vector<Extent> all;
  while (at < kGiB) {
    auto some = volume.GetExtents(at, kGiB - at, 7);
    ASSERT_TRUE(some.ok());
    ASSERT_LE(some->extents.size(), 7u);
    all.insert(all.end(), some->extents.begin(), some->extents.end());
    at = some->next_offset_bytes;
  }
  EXPECT_EQ(all.size(), 200u);
}

TEST_F(VolumeTest, RegistryListsByNameAndRefusesDuplicates) {
  for (const char* name : {"b", "a", "c"}) {
    VolumeOptions options;
    options.name = name;
    options.size_bytes = 1;
    ASSERT_TRUE(engine_->CreateVolume(options).ok());
  }
  VolumeOptions again;
  again.name = "b";
  again.size_bytes = 1;
  EXPECT_EQ(GetReason(engine_->CreateVolume(again).status()),
            reason::kVolumeExists);
  std::vector<std::string> names;
  for (const auto& volume : engine_->List("a", 10)) {
    names.push_back(volume.name);
  }
  EXPECT_THAT(names, ElementsAre("b", "c"));
}

TEST_F(VolumeTest, ARenamedVolumeStaysWhatItIs) {
  VolumeOptions options;
  options.size_bytes = 1 << 20;
  for (const char* name : {"a", "b"}) {
    options.name = name;
    ASSERT_TRUE(engine_->CreateVolume(options).ok());
  }
  const std::shared_ptr<Volume> volume = engine_->Find("a").value();
  const Attachment attachment =
      Attachment::Make(volume, {"nbd", "here"}).value();
  ASSERT_TRUE(volume->Write(0, std::string(10, 'x')).ok());
  EXPECT_EQ(GetReason(engine_->RenameVolume(volume, "b")),
            reason::kVolumeExists);
  EXPECT_EQ(GetReason(engine_->RenameVolume(volume, "a")),
            reason::kVolumeExists);
  EXPECT_EQ(GetReason(engine_->RenameVolume(volume, "-")),
            reason::kInvalidName);
  EXPECT_EQ(volume->name(), "a");
  ASSERT_TRUE(engine_->RenameVolume(volume, "c").ok());
  EXPECT_EQ(engine_->Find("c").value(), volume);
  EXPECT_EQ(engine_->FindUid(volume->uid()), volume);
  EXPECT_EQ(GetReason(engine_->Find("a").status()), reason::kVolumeNotFound);
  EXPECT_EQ(volume->options().name, "c");
  std::string data(10, ' ');
  ASSERT_TRUE(attachment.volume().Read(0, absl::MakeSpan(data)).ok());
  EXPECT_EQ(data, std::string(10, 'x'));
  EXPECT_THAT(
      std::string(volume->Read(1 << 20, absl::MakeSpan(data)).message()),
      ::testing::HasSubstr("volume \"c\""));
  // The old name is free.
  options.name = "a";
  EXPECT_TRUE(engine_->CreateVolume(options).ok());
  EXPECT_TRUE(engine_->DeleteVolume(volume, true).ok());
  EXPECT_EQ(engine_->FindUid(volume->uid()), nullptr);
  EXPECT_EQ(GetReason(engine_->RenameVolume(volume, "d")),
            reason::kVolumeDeleted);
}

// The trim's references find a hole; the write comes before its commit.
TEST_F(VolumeTest, TrimNextToAWriteIntoAHoleLosesNothing) {
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

TEST_F(VolumeTest, WhatAShrinkCutsOffStaysGoneThoughItsEdgeIsCorrupt) {
  Volume& volume = Make(kGiB);
  const std::string data = Text(random_, 300000);
  ASSERT_TRUE(Write(volume, 0, data).ok());
  ASSERT_TRUE(volume.CorruptForTest(70000));
  VolumeUpdate update;
  update.size_bytes = 70000;
  update.read_only = true;
  EXPECT_TRUE(volume.Update(update).ok());
  EXPECT_TRUE(volume.read_only());
  EXPECT_EQ(volume.Stats().logical_bytes, 18u * 4096);
  update.size_bytes = kGiB;
  ASSERT_TRUE(volume.Update(update).ok());
  EXPECT_EQ(Read(volume, 0, kChunkBytes), data.substr(0, kChunkBytes));
  EXPECT_TRUE(Read(volume, 18 * 4096, 300000) == std::string(300000, '\0'));
  std::string out(1, 'x');
  EXPECT_EQ(volume.Read(70000, absl::MakeSpan(out)).code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(VolumeTest, MallocVolumeTakesTheLongestWriteAtTheLimit) {
  options_.memory_limit_bytes = 48 << 20;
  Restart();
  Volume& reserved = Make(32 << 20, Allocator::kMalloc);
  const std::shared_ptr<Volume> keep = volume_;
  VolumeOptions other;
  other.name = "greedy";
  other.size_bytes = kGiB;
  Volume& greedy = Make(other);
  absl::Status status;
  for (uint64_t at = 0; status.ok(); at += 65536) {
    status = Write(greedy, at, Noise(random_, 65536));
  }
  for (int round = 0; round < 2; ++round) {
    const std::string data = Noise(random_, kMaxTransferBytes);
    status = Write(reserved, 0, data);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_TRUE(Read(reserved, 0, data.size()) == data);
    EXPECT_LE(engine_->Stats().memory_used_bytes, 48u << 20);
  }
  ASSERT_TRUE(reserved.Trim(0, 32 << 20).ok());
  EXPECT_LE(engine_->Stats().memory_used_bytes, 48u << 20);
}

TEST_F(VolumeTest, TheLimitThatRefusedIsBlamedWhateverTheLength) {
  VolumeOptions options;
  options.name = "limited";
  options.size_bytes = kGiB;
  options.memory_limit_bytes = 2 << 20;
  Volume& limited = Make(options);
  const std::shared_ptr<Volume> keep = volume_;
  const auto write_until_refused = [&](size_t length) {
    absl::Status status;
    for (uint64_t at = 0; status.ok(); at += length) {
      status = Write(limited, at, Noise(random_, length));
    }
    return GetReason(status);
  };
  for (size_t length = 4096; length <= 16 << 20; length *= 4) {
    EXPECT_EQ(write_until_refused(length), reason::kVolumeMemoryLimit)
        << length;
    ASSERT_TRUE(limited.Trim(0, kGiB).ok());
  }
  Volume& greedy = Make(kGiB);
  const std::shared_ptr<Volume> keep_greedy = volume_;
  absl::Status status;
  for (uint64_t at = 0; status.ok(); at += 1 << 20) {
    status = Write(greedy, at, Noise(random_, 1 << 20));
  }
  EXPECT_EQ(GetReason(status), reason::kServerMemoryLimit);
  EXPECT_EQ(write_until_refused(1 << 20), reason::kServerMemoryLimit);
}

TEST_F(VolumeTest, VolumeAtItsOwnLimitLeavesTheCacheToOthers) {
  Volume& other = Make(kGiB);
  const std::shared_ptr<Volume> keep = volume_;
  for (uint64_t at = 0; at < 300; ++at) {
    ASSERT_TRUE(Write(other, at << 20, Text(random_, 4096)).ok());
  }
  ASSERT_EQ(other.Stats().hot_bytes, 300u * 4096);
  VolumeOptions options;
  options.name = "limited";
  options.size_bytes = kGiB;
  options.memory_limit_bytes = 1 << 20;
  Volume& limited = Make(options);
  absl::Status status;
  for (uint64_t at = 0; status.ok(); at += kChunkBytes) {
    status = Write(limited, at, Text(random_, kChunkBytes));
  }
  EXPECT_EQ(GetReason(status), reason::kVolumeMemoryLimit);
  EXPECT_EQ(other.Stats().hot_bytes, 300u * 4096);
}

TEST_F(VolumeTest, MostlyDeadFramesGoThoughWhatIsLeftDoesNotCompress) {
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

TEST_F(VolumeTest, FramesReadApartAreSplitOnce) {
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

TEST_F(VolumeTest, CachedBlocksMakeRoomForANewVolume) {
  options_.memory_limit_bytes = 16 << 20;
  options_.hot_cache_bytes = 8 << 20;
  Restart();
  VolumeOptions options;
  options.name = "full";
  options.size_bytes = kGiB;
  Volume& full = Make(options);
  const std::shared_ptr<Volume> keep = volume_;
  for (uint64_t at = 0; at < 8 << 20; at += kChunkBytes) {
    ASSERT_TRUE(Write(full, at, Noise(random_, kChunkBytes)).ok());
  }
  for (uint64_t i = 0; i < 3000; ++i) {
    ASSERT_TRUE(
        Write(full, (i << 20) % kGiB + 4096 * (i / 1024), Text(random_, 4096))
            .ok());
  }
  options.name = "malloc";
  options.allocator = Allocator::kMalloc;
  options.size_bytes = 1 << 20;
  const auto made = engine_->CreateVolume(options);
  EXPECT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(GetReason(engine_->CreateVolume(options).status()),
            reason::kVolumeExists);
}

}  // namespace
}  // namespace ramvol::engine
