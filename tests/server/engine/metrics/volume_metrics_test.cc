#include "server/engine/metrics/volume_metrics.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "tests/support/eventually.h"
#include "tests/support/metric_value.h"
#include "tests/support/status_matchers.h"

namespace ramvol::metrics {
namespace {

using ::ramvol::testing::Eventually;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::MetricValue;

absl::Status SetReadOnly(engine::Volume& volume, bool read_only) {
  engine::VolumeUpdate update;
  update.read_only = read_only;
  return volume.Update(update);
}

absl::Status SetLimit(engine::Volume& volume, uint64_t limit_bytes) {
  engine::VolumeUpdate update;
  update.memory_limit_bytes = limit_bytes;
  return volume.Update(update);
}

class VolumeMetricsTest : public ::testing::Test {
 protected:
  VolumeMetricsTest() {
    engine::EngineOptions options;
    options.memory_limit_bytes = 64 << 20;
    options.merge_interval_ms = 3600000;
    engine_ = *engine::Engine::Create(options);
  }

  std::shared_ptr<engine::Volume> Make(const std::string& name,
                                       uint64_t limit_bytes = 0) {
    engine::VolumeOptions options;
    options.name = name;
    options.size_bytes = 1 << 20;
    options.memory_limit_bytes = limit_bytes;
    return *engine_->CreateVolume(options);
  }
  // -1 when there is none.
  double Value(size_t max_volumes, const std::string& name,
               const std::map<std::string, std::string>& labels = {}) const {
    return MetricValue(VolumeMetrics(engine_.get(), max_volumes).Collect(),
                       name, labels)
        .value_or(-1);
  }

  std::unique_ptr<engine::Engine> engine_;
};

TEST_F(VolumeMetricsTest, EachVolumeHasItsNumbers) {
  auto a = Make("a", 32 << 20);
  Make("b");
  ASSERT_THAT(a->Write(0, std::string(8192, 'x')), IsOk());
  ASSERT_THAT(a->Write(8192, std::string(4096, 'x') + "y"), IsOk());
  ASSERT_THAT(a->Trim(0, 4096), IsOk());
  std::string out(5, '\0');
  ASSERT_THAT(a->Read(8192, absl::MakeSpan(out)), IsOk());
  const auto held = a->Attach({}, false);
  ASSERT_THAT(held, IsOk());
  const auto value = [this](const std::string& name,
                            const std::map<std::string, std::string>& labels) {
    return Value(1000, name, labels);
  };
  EXPECT_EQ(value("ramvol_volume_size_bytes", {{"volume", "a"}}), 1 << 20);
  EXPECT_EQ(value("ramvol_volume_logical_bytes", {{"volume", "a"}}), 12288);
  EXPECT_EQ(value("ramvol_volume_logical_bytes", {{"volume", "b"}}), 0);
  EXPECT_EQ(value("ramvol_volume_memory_limit_bytes", {{"volume", "a"}}),
            32 << 20);
  EXPECT_EQ(value("ramvol_volume_memory_limit_bytes", {{"volume", "b"}}), 0);
  EXPECT_EQ(value("ramvol_volume_attached_clients", {{"volume", "a"}}), 1);
  EXPECT_EQ(value("ramvol_volume_blocks",
                  {{"volume", "a"}, {"state", "same_filled"}}),
            2);
  EXPECT_EQ(value("ramvol_volume_frames", {{"volume", "a"}, {"span", "16"}}),
            0);
  EXPECT_EQ(value("ramvol_volume_written_bytes_total", {{"volume", "a"}}),
            8192 + 4097);
  EXPECT_EQ(value("ramvol_volume_read_bytes_total", {{"volume", "a"}}), 5);
  EXPECT_EQ(value("ramvol_volume_trimmed_bytes_total", {{"volume", "a"}}),
            4096);
  EXPECT_EQ(value("ramvol_volume_operations_total",
                  {{"volume", "a"}, {"op", "write"}}),
            2);
  EXPECT_EQ(value("ramvol_volume_operations_total",
                  {{"volume", "b"}, {"op", "extents"}}),
            0);
  EXPECT_EQ(value("ramvol_volume_hot_cache_misses_total", {{"volume", "a"}}),
            1);
  EXPECT_EQ(Value(1000, "ramvol_metrics_max_volumes"), 1000);
  EXPECT_EQ(Value(1000, "ramvol_metrics_volumes_beyond_max"), 0);
  EXPECT_EQ(value("ramvol_volume_size_bytes", {{"volume", "_other"}}), -1);
  EXPECT_GT(a->Stats().read_ns, 0);
  EXPECT_GT(a->Stats().write_ns, 0);
  a->Detach(*held);
  // Until it is compressed, soon after.
  EXPECT_TRUE(Eventually([&] {
    EXPECT_THAT(a->Write(12288, "y"), IsOk());
    return value("ramvol_volume_blocks",
                 {{"volume", "a"}, {"state", "dirty"}}) == 1;
  }));
}

TEST_F(VolumeMetricsTest, ErrorsAreCountedByReason) {
  auto a = Make("a");
  std::string out(4096, '\0');
  EXPECT_FALSE(a->Read(1 << 20, absl::MakeSpan(out)).ok());
  EXPECT_FALSE(a->Read(1 << 20, absl::MakeSpan(out)).ok());
  EXPECT_FALSE(a->GetExtents(2 << 20, 1, 10).ok());
  ASSERT_THAT(SetReadOnly(*a, true), IsOk());
  EXPECT_FALSE(a->Write(0, "x").ok());
  EXPECT_FALSE(a->WriteZeroes(0, 1, false).ok());
  const auto errors = [this](const std::string& op, const std::string& reason) {
    return Value(10, "ramvol_volume_errors_total",
                 {{"volume", "a"}, {"op", op}, {"reason", reason}});
  };
  EXPECT_EQ(errors("read", "PAST_END"), 2);
  EXPECT_EQ(errors("extents", "PAST_END"), 1);
  EXPECT_EQ(errors("write", "VOLUME_READ_ONLY"), 1);
  EXPECT_EQ(errors("write_zeroes", "VOLUME_READ_ONLY"), 1);
  EXPECT_EQ(errors("trim", "VOLUME_READ_ONLY"), -1) << "did not occur";
  ASSERT_THAT(SetReadOnly(*a, false), IsOk());
  ASSERT_THAT(SetLimit(*a, 1), IsOk());
  EXPECT_FALSE(a->Write(0, "x").ok());
  EXPECT_EQ(errors("write", "VOLUME_MEMORY_LIMIT"), 1);
  ASSERT_THAT(SetLimit(*a, 0), IsOk());
  engine_->FailAllocationsAfterForTest(0);
  EXPECT_FALSE(a->Write(0, "x").ok());
  engine_->FailAllocationsAfterForTest(-1);
  EXPECT_EQ(errors("write", "SERVER_MEMORY_LIMIT"), 1);
  EXPECT_EQ(a->Stats().failed_operations, 7);
}

TEST_F(VolumeMetricsTest, VolumesBeyondTheCapAreOneTogether) {
  for (const char* name : {"d", "a", "c", "b"}) {
    auto volume = Make(name);
    ASSERT_THAT(volume->Write(0, std::string(4096, name[0])), IsOk());
    EXPECT_FALSE(volume->Trim(1 << 20, 1).ok());
  }
  EXPECT_EQ(Value(2, "ramvol_volume_size_bytes", {{"volume", "a"}}), 1 << 20);
  EXPECT_EQ(Value(2, "ramvol_volume_size_bytes", {{"volume", "b"}}), 1 << 20);
  EXPECT_EQ(Value(2, "ramvol_volume_size_bytes", {{"volume", "c"}}), -1);
  EXPECT_EQ(Value(2, "ramvol_volume_size_bytes", {{"volume", "_other"}}),
            2 << 20);
  EXPECT_EQ(
      Value(2, "ramvol_volume_written_bytes_total", {{"volume", "_other"}}),
      8192);
  EXPECT_EQ(Value(2, "ramvol_volume_operations_total",
                  {{"volume", "_other"}, {"op", "write"}}),
            2);
  EXPECT_EQ(
      Value(2, "ramvol_volume_errors_total",
            {{"volume", "_other"}, {"op", "trim"}, {"reason", "PAST_END"}}),
      2);
  EXPECT_EQ(Value(2, "ramvol_metrics_volumes_beyond_max"), 2);
  EXPECT_EQ(Value(0, "ramvol_volume_size_bytes", {{"volume", "_other"}}),
            4 << 20);
  EXPECT_EQ(Value(0, "ramvol_volume_size_bytes", {{"volume", "a"}}), -1);
  EXPECT_EQ(Value(0, "ramvol_metrics_max_volumes"), 0);
}

TEST_F(VolumeMetricsTest, ChosenLabelsAreOnAllSeriesOfVolumes) {
  auto a = Make("a");
  Make("b");
  Make("c");
  EXPECT_FALSE(a->Trim(1 << 20, 1).ok());
  const MetricLabels labels{*ParseMetricLabels("team,app.name"),
                            [](const std::string& volume) {
                              std::map<std::string, std::string> of;
                              if (volume == "a")
                                of = {{"team", "ci"}, {"env", "test"}};
                              return of;
                            }};
  const auto families = VolumeMetrics(engine_.get(), 2, labels).Collect();
  std::map<std::string, std::string> teams;
  for (const prometheus::MetricFamily& family : families) {
    for (const auto& metric : family.metric) {
      std::map<std::string, std::string> has;
      for (const auto& label : metric.label) has[label.name] = label.value;
      if (!has.contains("volume")) continue;
      ASSERT_TRUE(has.contains("label_team")) << family.name;
      EXPECT_EQ(has["label_app_name"], "") << family.name;
      EXPECT_FALSE(has.contains("label_env")) << family.name;
      teams.try_emplace(has["volume"], has["label_team"]);
      EXPECT_EQ(teams[has["volume"]], has["label_team"]) << family.name;
    }
  }
  EXPECT_EQ(teams, (std::map<std::string, std::string>{
                       {"a", "ci"}, {"b", ""}, {"_other", ""}}));
}

TEST_F(VolumeMetricsTest, ADeletedVolumeHasNoSeries) {
  auto a = Make("a");
  Make("b");
  ASSERT_THAT(engine_->DeleteVolume(a, false), IsOk());
  // Though somebody holds it still.
  for (const prometheus::MetricFamily& family :
       VolumeMetrics(engine_.get(), 10).Collect()) {
    for (const auto& metric : family.metric) {
      for (const auto& label : metric.label) EXPECT_NE(label.value, "a");
    }
  }
  EXPECT_EQ(Value(10, "ramvol_volume_size_bytes", {{"volume", "b"}}), 1 << 20);
}

}  // namespace
}  // namespace ramvol::metrics
