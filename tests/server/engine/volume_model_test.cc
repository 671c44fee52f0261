// Long random sequences of every operation against a plain byte array.
#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "tests/server/engine/support/expect_allocated.h"
#include "tests/support/random_data.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::Noise;
using ::ramvol::testing::RandomData;
using ::ramvol::testing::SkewedBelow;
using ::ramvol::testing::TestSeed;
using ::ramvol::testing::TestSteps;

constexpr int kSteps = 1500;  // Of each thread.

struct ModelCase {
  std::string name;
  VolumeOptions options;
  EngineOptions engine;
};

// A thread's part of a volume, and what it should hold. Parts touch at odd
// bytes, so that threads change the same blocks.
class Part {
 public:
  Part(Volume& volume, uint64_t offset, size_t bytes, uint64_t seed)
      : volume_(volume),
        offset_(offset),
        expected_(bytes, '\0'),
        random_(seed) {}

  void Step() {
    switch (random_() % 16) {
      case 0:
        return Zero(/*trim=*/true, false);
      case 1:
        return Zero(/*trim=*/false, random_() % 2 == 0);
      case 2:
        return CheckExtents();
      case 3:
      case 4:
      case 5:
      case 6:
      case 7:
        return CheckRead(Range());
      default:
        return Write();
    }
  }

  void CheckAll() { CheckRead({0, expected_.size()}); }

 private:
  struct Slice {
    size_t begin;
    size_t length;
  };

  Slice Range() {
    size_t begin = random_() % expected_.size();
    // Often at a block's or a chunk's edge, of a round length.
    if (random_() % 2 == 0)
      begin -= std::min<size_t>(begin, (offset_ + begin) % 4096);
    size_t length = 1 + SkewedBelow(random_, 300000);
    if (random_() % 3 == 0) length = 4096 * (1 + random_() % 20);
    return {begin, std::min(length, expected_.size() - begin)};
  }

  void Write() {
    const Slice at = Range();
    const std::string data = RandomData(random_, at.length);
    const absl::Status status = volume_.Write(
        offset_ + at.begin, absl::MakeConstSpan(data.data(), data.size()));
    if (status.code() == absl::StatusCode::kResourceExhausted) {
      ++refused_;
      return;  // And nothing has changed: later reads check that.
    }
    ASSERT_TRUE(status.ok()) << status;
    std::copy(data.begin(), data.end(), expected_.begin() + at.begin);
  }

  void Zero(bool trim, bool no_hole) {
    const Slice at = Range();
    const absl::Status status =
        trim ? volume_.Trim(offset_ + at.begin, at.length)
             : volume_.WriteZeroes(offset_ + at.begin, at.length, no_hole);
    if (no_hole && status.code() == absl::StatusCode::kResourceExhausted) {
      // Parts of it may be zero: learn which.
      CheckZeroedOrSame(at);
      return;
    }
    ASSERT_TRUE(status.ok()) << status;
    std::fill_n(expected_.begin() + at.begin, at.length, '\0');
  }

  void CheckZeroedOrSame(Slice at) {
    std::string now(at.length, 'x');
    ASSERT_TRUE(volume_.Read(offset_ + at.begin, absl::MakeSpan(now)).ok());
    for (size_t i = 0; i < at.length; ++i) {
      ASSERT_TRUE(now[i] == 0 || now[i] == expected_[at.begin + i]);
    }
    std::copy(now.begin(), now.end(), expected_.begin() + at.begin);
  }

  void CheckRead(Slice at) {
    std::string now(at.length, 'x');
    const absl::Status status =
        volume_.Read(offset_ + at.begin, absl::MakeSpan(now));
    ASSERT_TRUE(status.ok()) << status;
    // Byte by byte only where it differs.
    if (expected_.compare(at.begin, at.length, now) == 0) return;
    const auto [got, wanted] =
        std::mismatch(now.begin(), now.end(), expected_.begin() + at.begin);
    ASSERT_TRUE(got == now.end())
        << "byte " << offset_ + at.begin + (got - now.begin())
        << " of a read of " << at.length << " at " << offset_ + at.begin
        << " is " << int{static_cast<unsigned char>(*got)} << ", not "
        << int{static_cast<unsigned char>(*wanted)};
  }

  void CheckExtents() {
    const Slice at = Range();
    const uint64_t begin = offset_ + at.begin;
    const auto extents =
        volume_.GetExtents(begin, at.length, 1 + random_() % 20);
    ASSERT_TRUE(extents.ok()) << extents.status();
    uint64_t position = begin;
    for (const Extent& extent : extents->extents) {
      ASSERT_EQ(extent.offset_bytes, position);
      ASSERT_GT(extent.length_bytes, 0u);
      position += extent.length_bytes;
      ASSERT_LE(position, begin + at.length);
      if (extent.hole) {
        const size_t data =
            expected_.find_first_not_of('\0', extent.offset_bytes - offset_);
        ASSERT_GE(data, position - offset_)
            << "hole with data at " << offset_ + data;
      }
    }
    ASSERT_EQ(position, extents->next_offset_bytes);
    ASSERT_GT(position, begin);
  }

  Volume& volume_;
  const uint64_t offset_;
  std::string expected_;
  std::mt19937_64 random_;

 public:
  int refused_ = 0;
};

void ExpectStatsAddUp(const VolumeStats& stats) {
  EXPECT_EQ(stats.logical_bytes,
            4096 * (stats.compressed_blocks + stats.raw_blocks +
                    stats.same_filled_blocks + stats.dirty_blocks));
  const uint64_t frame_bytes = std::accumulate(
      stats.frame_bytes.begin(), stats.frame_bytes.end(), uint64_t{0});
  EXPECT_EQ(stats.stored_bytes,
            frame_bytes + 4096 * (stats.raw_blocks + stats.dirty_blocks));
  EXPECT_LE(stats.dead_bytes, frame_bytes);
  EXPECT_GE(stats.hot_bytes, stats.dirty_bytes);
  EXPECT_GE(stats.memory_bytes, stats.stored_bytes);
}

class VolumeModelTest : public ::testing::TestWithParam<ModelCase> {};

TEST_P(VolumeModelTest, EqualsAByteArray) {
  const uint64_t seed = TestSeed(20261122);
  const int steps = TestSteps(kSteps);
  constexpr int kThreads = 4;
  constexpr size_t kPartBytes = 700001;
  auto engine = Engine::Create(GetParam().engine);
  ASSERT_TRUE(engine.ok()) << engine.status();
  const uint64_t empty_bytes = (*engine)->Stats().memory_allocated_bytes;
  auto volume = (*engine)->CreateVolume(GetParam().options);
  ASSERT_TRUE(volume.ok()) << volume.status();
  const uint64_t base =
      std::min<uint64_t>(GetParam().options.size_bytes - kThreads * kPartBytes,
                         (uint64_t{1} << 40) + 12345);

  std::vector<std::unique_ptr<Part>> parts;
  for (int i = 0; i < kThreads; ++i) {
    parts.push_back(std::make_unique<Part>(**volume, base + i * kPartBytes,
                                           kPartBytes, seed + i));
  }
  std::vector<std::thread> threads;
  for (auto& part : parts) {
    threads.emplace_back([&part, steps] {
      for (int i = 0; i < steps && !::testing::Test::HasFatalFailure(); ++i) {
        part->Step();
      }
    });
  }
  std::mt19937_64 random(seed);
  for (int i = 0; i < steps / 100; ++i) {
    (*engine)->QuiesceForTest(/*merge=*/random() % 2 == 0);
  }
  for (std::thread& thread : threads) thread.join();

  for (auto& part : parts) part->CheckAll();
  (*engine)->QuiesceForTest(true);
  for (auto& part : parts) part->CheckAll();
  ExpectStatsAddUp((*volume)->Stats());
  EXPECT_EQ((*volume)->Stats().dirty_blocks, 0u) << "left out of its queue";
  const EngineStats stats = (*engine)->Stats();
  EXPECT_LE(stats.memory_used_bytes, stats.memory_limit_bytes);
  int refused = 0;
  for (auto& part : parts) refused += part->refused_;
  if (GetParam().name.find("Tight") != std::string::npos) {
    EXPECT_GT(refused, 0) << "the limit never bit";
  } else {
    EXPECT_EQ(refused, 0);
  }

  ASSERT_TRUE((*engine)->DeleteVolume(*volume, false).ok());
  const VolumeStats after = (*volume)->Stats();
  EXPECT_EQ(after.logical_bytes, 0u);
  EXPECT_EQ(after.stored_bytes, 0u);
  EXPECT_EQ(after.hot_bytes, 0u);
  EXPECT_EQ(after.dead_bytes, 0u);
  volume->reset();
  ExpectAllocated(**engine, empty_bytes);
}

std::vector<ModelCase> Cases() {
  EngineOptions roomy;
  roomy.memory_limit_bytes = 256 << 20;
  roomy.merge_interval_ms = 50;
  EngineOptions small_cache = roomy;
  small_cache.hot_cache_bytes = 1 << 20;
  EngineOptions tight = small_cache;
  tight.memory_limit_bytes = 16 << 20;

  VolumeOptions zstd;
  zstd.name = "model";
  zstd.size_bytes = kMaxVolumeBytes;
  const auto with_frames = [&zstd](uint32_t min, uint32_t max) {
    VolumeOptions options = zstd;
    options.min_frame_bytes = min;
    options.max_frame_bytes = max;
    return options;
  };
  VolumeOptions odd_size = zstd;
  odd_size.size_bytes = 4 * 700001;
  VolumeOptions limited = zstd;
  limited.memory_limit_bytes = 700 << 10;
  VolumeOptions sparse = zstd;
  sparse.allocator = Allocator::kSparse;
  VolumeOptions sparse_limited = sparse;
  sparse_limited.memory_limit_bytes = 1500 << 10;
  VolumeOptions reserved = odd_size;
  reserved.allocator = Allocator::kMalloc;
  return {
      {"Zstd", zstd, roomy},
      {"ZstdSmallCache", zstd, small_cache},
      {"ZstdOddSize", odd_size, small_cache},
      {"ZstdFixed16K", with_frames(16384, 16384), small_cache},
      {"ZstdFixed64K", with_frames(65536, 65536), small_cache},
      {"ZstdOnly4K", with_frames(4096, 4096), small_cache},
      {"ZstdTight", limited, tight},
      {"Sparse", sparse, small_cache},
      {"SparseTight", sparse_limited, tight},
      {"Malloc", reserved, tight},
  };
}

INSTANTIATE_TEST_SUITE_P(All, VolumeModelTest, ::testing::ValuesIn(Cases()),
                         [](const ::testing::TestParamInfo<ModelCase>& info) {
                           return info.param.name;
                         });

}  // namespace
}  // namespace ramvol::engine
