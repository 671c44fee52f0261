// Limits, reservations, and what is taken.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "tests/server/engine/support/volume_fixture.h"
#include "tests/support/random_data.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::Noise;
using ::ramvol::testing::Text;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kTiB = uint64_t{1} << 40;

class VolumeMemoryTest : public VolumeTest {};

// A golden figure: raising it needs a reason.
TEST_F(VolumeMemoryTest, IndexTakesFewBytesForEachChunk) {
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

TEST_F(VolumeMemoryTest, WriteThatFailsForMemoryChangesNothing) {
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

TEST_F(VolumeMemoryTest, MemoryLimitHoldsAndAcknowledgedDataStays) {
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

TEST_F(VolumeMemoryTest, VolumeLimitBitesForThatVolumeOnly) {
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

TEST_F(VolumeMemoryTest, TheLimitThatRefusedIsBlamedWhateverTheLength) {
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

TEST_F(VolumeMemoryTest, RefusalsForMemoryNameTheRequest) {
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

TEST_F(VolumeMemoryTest, CompressibleWritesGoOnFarBeyondTheLimit) {
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

TEST_F(VolumeMemoryTest, VolumeAtItsOwnLimitLeavesTheCacheToOthers) {
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

TEST_F(VolumeMemoryTest, CachedBlocksMakeRoomForANewVolume) {
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

TEST_F(VolumeMemoryTest, MallocVolumeReservesItsMemoryAndNeverLacksAny) {
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

TEST_F(VolumeMemoryTest, MallocVolumeTakesTheLongestWriteAtTheLimit) {
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

}  // namespace
}  // namespace ramvol::engine
