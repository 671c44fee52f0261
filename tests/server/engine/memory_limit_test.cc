// The memory limit, while background work rearranges what is stored.
#include <atomic>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "tests/support/random_data.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::Noise;
using ::ramvol::testing::TestSeed;

constexpr uint64_t kLimitBytes = 64 << 20;
constexpr uint64_t kVolumeBytes = 1 << 30;

// A block as fio makes them with buffer_compress_percentage=65: a third of
// noise, the rest zeroes.
std::string PartlyNoise(std::mt19937_64& random) {
  std::string block = Noise(random, kBlockBytes / 3);
  block.resize(kBlockBytes);
  return block;
}

EngineOptions SmallEngine() {
  EngineOptions options;
  options.memory_limit_bytes = kLimitBytes;
  options.background_threads = 2;
  options.merge_interval_ms = 50;
  return options;
}

// Samples an engine's memory for as long as it lives.
class Watcher {
 public:
  explicit Watcher(const Engine& engine)
      : engine_(engine), thread_([this] { Run(); }) {}
  ~Watcher() { Stop(); }

  // The most that was in use.
  uint64_t Stop() {
    stopped_ = true;
    if (thread_.joinable()) thread_.join();
    return most_bytes_;
  }

 private:
  void Run() {
    while (!stopped_) {
      const uint64_t used = engine_.Stats().memory_used_bytes;
      most_bytes_ = std::max(most_bytes_, used);
      absl::SleepFor(absl::Microseconds(200));
    }
  }

  const Engine& engine_;
  uint64_t most_bytes_ = 0;
  std::atomic<bool> stopped_{false};
  std::thread thread_;
};

class MemoryLimitTest : public ::testing::Test {
 protected:
  MemoryLimitTest()
      : engine_(Engine::Create(SmallEngine()).value()), random_(TestSeed(1)) {
    VolumeOptions options;
    options.name = "disk";
    options.size_bytes = kVolumeBytes;
    volume_ = engine_->CreateVolume(options).value();
  }

  absl::Status WriteBlock(uint64_t block) {
    const std::string data = PartlyNoise(random_);
    return volume_->Write(block * kBlockBytes, data);
  }

  // Writes blocks at random places until memory is lacking; returns which were
  // written.
  std::vector<uint64_t> Fill() {
    std::vector<uint64_t> written;
    absl::Status status;
    for (;;) {
      const uint64_t block = random_() % (kVolumeBytes / 4 / kBlockBytes);
      status = WriteBlock(block);
      if (!status.ok()) break;
      written.push_back(block);
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    return written;
  }

  std::unique_ptr<Engine> engine_;
  std::shared_ptr<Volume> volume_;
  std::mt19937_64 random_;
};

TEST_F(MemoryLimitTest, MergingStaysWithinTheLimitAndLeavesWritersTheirRoom) {
  Watcher watcher(*engine_);
  const std::vector<uint64_t> written = Fill();
  // Room for some overwrites, which need a page each until they are compressed.
  for (int i = 0; i < 512; ++i) {
    const uint64_t block = written[random_() % written.size()];
    ASSERT_TRUE(volume_->Trim(block * kBlockBytes, kBlockBytes).ok());
  }
  int refused = 0;
  uint64_t slack_bytes = 0;
  // Writers are quiet: it merges, later on a busy machine.
  const absl::Time end = absl::Now() + absl::Minutes(2);
  int writes = 0;
  for (; writes < 300 ||
         (engine_->Stats().merged_frames == 0 && absl::Now() < end);
       ++writes) {
    absl::SleepFor(absl::Milliseconds(10));
    if (WriteBlock(written[random_() % written.size()]).ok()) continue;
    ++refused;
    const EngineStats stats = engine_->Stats();
    slack_bytes = std::max(
        slack_bytes, stats.memory_used_bytes - stats.memory_allocated_bytes);
  }
  const EngineStats stats = engine_->Stats();
  std::printf(
      "merged %lu frames; most over the limit: %ld bytes; %d of %d "
      "writes refused, with up to %lu bytes of slack\n",
      stats.merged_frames, static_cast<int64_t>(watcher.Stop() - kLimitBytes),
      refused, writes, slack_bytes);
  EXPECT_GT(stats.merged_frames, 0u);
  EXPECT_LE(watcher.Stop(), kLimitBytes);
  // Of each size class of the slabs a part of a slab may stay free.
  EXPECT_LE(slack_bytes, kLimitBytes / 8);
}

}  // namespace
}  // namespace ramvol::engine
