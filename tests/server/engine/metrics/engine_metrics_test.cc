#include "server/engine/metrics/engine_metrics.h"

#include <cstdint>
#include <memory>
#include <string>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "tests/server/engine/support/damage.h"
#include "tests/server/engine/support/shm_dir.h"
#include "tests/support/eventually.h"
#include "tests/support/metric_value.h"
#include "tests/support/status_matchers.h"

namespace ramvol::metrics {
namespace {

using ::ramvol::testing::Eventually;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::MetricValue;
using ::testing::Optional;

class EngineMetricsTest : public ::testing::Test {
 protected:
  EngineMetricsTest() {
    engine::EngineOptions options;
    options.memory_limit_bytes = 64 << 20;
    options.merge_interval_ms = 3600000;
    engine_ = *engine::Engine::Create(options);
    metrics_ = std::make_unique<EngineMetrics>(engine_.get());
  }

  std::shared_ptr<engine::Volume> Make(const std::string& name) {
    engine::VolumeOptions options;
    options.name = name;
    options.size_bytes = 1 << 20;
    return *engine_->CreateVolume(options);
  }
  double Value(const std::string& name,
               const std::map<std::string, std::string>& labels = {}) const {
    return MetricValue(metrics_->Collect(), name, labels).value_or(-1);
  }

  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<EngineMetrics> metrics_;
};

TEST_F(EngineMetricsTest, CountersOutliveTheirVolumes) {
  auto volume = Make("v");
  const std::string data(65536, 'x');
  std::string out(4096, '\0');
  ASSERT_THAT(volume->Write(0, data), IsOk());
  ASSERT_THAT(volume->Write(0, "first of a long line"), IsOk());
  engine_->QuiesceForTest(/*merge=*/true);
  ASSERT_THAT(volume->Read(0, absl::MakeSpan(out)), IsOk());
  ASSERT_THAT(volume->Read(0, absl::MakeSpan(out)), IsOk());
  ASSERT_THAT(volume->Read(32768, absl::MakeSpan(out)), IsOk());
  EXPECT_FALSE(volume->Read(1 << 20, absl::MakeSpan(out)).ok());
  const auto expect = [this] {
    EXPECT_GE(Value("ramvol_hot_cache_hits_total"), 1);
    EXPECT_GE(Value("ramvol_hot_cache_misses_total"), 1);
    EXPECT_EQ(Value("ramvol_operation_duration_seconds", {{"op", "read"}}), 4);
    EXPECT_EQ(Value("ramvol_operation_duration_seconds", {{"op", "write"}}), 2);
    EXPECT_EQ(Value("ramvol_operation_duration_seconds", {{"op", "trim"}}), 0);
    EXPECT_GE(
        Value("ramvol_codec_duration_seconds", {{"direction", "compress"}}), 1);
    EXPECT_GE(
        Value("ramvol_codec_duration_seconds", {{"direction", "decompress"}}),
        1);
  };
  expect();
  const double hits = Value("ramvol_hot_cache_hits_total");
  EXPECT_EQ(Value("ramvol_volumes"), 1);
  ASSERT_THAT(engine_->DeleteVolume(volume, true), IsOk());
  volume.reset();
  EXPECT_EQ(Value("ramvol_volumes"), 0);
  EXPECT_EQ(Value("ramvol_hot_cache_hits_total"), hits);
  expect();
}

TEST_F(EngineMetricsTest, FramesAreCountedByWhatBecameOfThem) {
  auto volume = Make("v");
  std::string text;
  while (text.size() < 65536)
    text += "all kinds of words " + std::to_string(text.size());
  // Sixteen small frames, of which one large one is made.
  for (size_t at = 0; at < 65536; at += 4096) {
    ASSERT_THAT(volume->Write(at, text.substr(at, 4096)), IsOk());
    engine_->QuiesceForTest(/*merge=*/false);
  }
  engine_->QuiesceForTest(/*merge=*/true);
  EXPECT_GE(Value("ramvol_recompressed_frames_total", {{"kind", "merged"}}), 2);
  EXPECT_EQ(Value("ramvol_recompressed_frames_total", {{"kind", "split"}}), 0);
  EXPECT_EQ(Value("ramvol_corrupt_frames_total"), 0);
  // A long write is compressed at once, and not in the cache.
  constexpr uint64_t kElsewhere = 1 << 19;
  ASSERT_THAT(volume->Write(kElsewhere, text), IsOk());
  ASSERT_TRUE(volume->CorruptForTest(kElsewhere));
  std::string out(4096, '\0');
  EXPECT_FALSE(volume->Read(kElsewhere, absl::MakeSpan(out)).ok());
  EXPECT_EQ(Value("ramvol_corrupt_frames_total"), 1);
}

TEST_F(EngineMetricsTest, GaugesFollowTheEngine) {
  auto volume = Make("v");
  ASSERT_THAT(volume->Write(0, std::string(4096, 'x') + "y"), IsOk());
  EXPECT_EQ(Value("ramvol_memory_limit_bytes"), 64 << 20);
  EXPECT_EQ(Value("ramvol_hot_cache_limit_bytes"), 8 << 20);
  EXPECT_GT(Value("ramvol_hot_cache_bytes"), 0);
  // Until they are compressed, soon after.
  EXPECT_TRUE(Eventually([&] {
    EXPECT_THAT(volume->Write(0, "x"), IsOk());
    return Value("ramvol_hot_cache_dirty_bytes") > 0;
  }));
  EXPECT_GT(Value("ramvol_memory_used_bytes"), 0);
  EXPECT_GT(Value("ramvol_memory_allocated_bytes"), 0);
  EXPECT_GT(Value("ramvol_memory_resident_bytes"), 0);
  EXPECT_EQ(Value("ramvol_throttled_writes_total"), 0);
}

TEST_F(EngineMetricsTest, PausesAndCopiedNodesAreCounted) {
  auto volume = Make("v");
  ASSERT_THAT(volume->Write(0, "content"), IsOk());
  EXPECT_EQ(Value("ramvol_copied_nodes_total"), 0);
  EXPECT_EQ(Value("ramvol_pause_duration_seconds"), 0);
  const auto snapshots = engine_->CreateSnapshots({{volume, "s"}});
  ASSERT_THAT(snapshots, IsOk());
  EXPECT_EQ(Value("ramvol_pause_duration_seconds"), 1);
  EXPECT_EQ(Value("ramvol_copied_nodes_total"), 0);
  ASSERT_THAT(volume->Write(0, "other content"), IsOk());
  ASSERT_THAT(volume->Write(9, "more of it"), IsOk());
  EXPECT_EQ(Value("ramvol_copied_nodes_total"), 1) << "the only leaf, once";
  engine::VolumeOptions options;
  options.name = "clone";
  ASSERT_THAT(engine_->CloneVolume(options, (*snapshots)[0]), IsOk());
  EXPECT_EQ(Value("ramvol_pause_duration_seconds"), 2);
  ASSERT_THAT(engine_->RevertVolume(volume, (*snapshots)[0], false), IsOk());
  EXPECT_EQ(Value("ramvol_pause_duration_seconds"), 3);
}

TEST_F(EngineMetricsTest, RecoveryIsMeasured) {
  constexpr uint64_t kSize = 0x1357'9000;
  const engine::ShmDir dir;
  engine::EngineOptions options;
  options.memory_limit_bytes = 64 << 20;
  options.state_dir = dir.path();
  const auto start = [&] {
    metrics_.reset();
    engine_.reset();
    engine_ = *engine::Engine::Create(options);
    metrics_ = std::make_unique<EngineMetrics>(engine_.get());
  };
  start();
  EXPECT_EQ(Value("ramvol_volumes_recovered"), 0);
  for (const char* name : {"whole", "bad"}) {
    ASSERT_THAT(Make(name)->Write(0, "content"), IsOk());
  }
  engine::VolumeUpdate update;
  update.size_bytes = kSize;
  ASSERT_THAT((*engine_->Find("bad"))->Update(update), IsOk());
  engine_.reset();
  ASSERT_EQ(engine::DamageContent(dir.path(), kSize), 1);
  start();
  EXPECT_EQ(Value("ramvol_volumes_recovered"), 2);
  EXPECT_EQ(Value("ramvol_volumes_damaged"), 1);
  EXPECT_GT(Value("ramvol_recovery_seconds"), 0);
  ASSERT_THAT(engine_->DeleteVolume(*engine_->Find("bad"), false), IsOk());
  EXPECT_EQ(Value("ramvol_volumes_damaged"), 0);
}

}  // namespace
}  // namespace ramvol::metrics
