#include "server/engine/metrics/snapshot_metrics.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "tests/support/metric_value.h"
#include "tests/support/status_matchers.h"

namespace ramvol::metrics {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::MetricValue;
using Values = std::map<std::string, std::string>;
using Families = std::vector<prometheus::MetricFamily>;

constexpr uint64_t kBytes = 1 << 20;
constexpr int64_t kAnHourNs = 3'600'000'000'000;

class SnapshotMetricsTest : public ::testing::Test {
 protected:
  SnapshotMetricsTest() {
    engine::EngineOptions options;
    options.memory_limit_bytes = 64 << 20;
    options.merge_interval_ms = 3600000;
    engine_ = *engine::Engine::Create(options);
    engine::VolumeOptions disk;
    disk.name = "disk";
    disk.size_bytes = kBytes;
    disk_ = *engine_->CreateVolume(disk);
  }

  // Fills the disk with other bytes for each `fill`; they hardly compress.
  void Write(uint64_t fill) {
    std::string data(kBytes, '\0');
    for (char& byte : data) {
      fill = fill * 6364136223846793005 + 1442695040888963407;
      byte = static_cast<char>(fill >> 56);
    }
    ASSERT_THAT(disk_->Write(0, data), IsOk());
  }
  std::shared_ptr<engine::Volume> Take(const std::string& name,
                                       uint64_t create_time_s = 1) {
    infos_[name] = {"disk", create_time_s, {}};
    return (*engine_->CreateSnapshots({{disk_, name}}))[0];
  }
  SnapshotMetrics Metrics(size_t max_snapshots,
                          int64_t measuring_ns = kAnHourNs,
                          const std::string& labels = "") {
    return SnapshotMetrics(
        engine_.get(), max_snapshots, *ParseMetricLabels(labels),
        [this](const std::string& name) -> std::optional<SnapshotInfo> {
          const auto found = infos_.find(name);
          if (found == infos_.end()) return std::nullopt;
          return found->second;
        },
        measuring_ns);
  }

  std::map<std::string, SnapshotInfo> infos_;
  std::unique_ptr<engine::Engine> engine_;
  std::shared_ptr<engine::Volume> disk_;
};

// -1 when there is none.
double Value(const Families& families, const std::string& name,
             const std::string& snapshot, const std::string& source = "disk") {
  return MetricValue(families, name,
                     {{"snapshot", snapshot}, {"source", source}})
      .value_or(-1);
}
double Own(const Families& families, const std::string& snapshot) {
  return Value(families, "ramvol_snapshot_own_bytes", snapshot);
}

TEST_F(SnapshotMetricsTest, EachSnapshotHasAgeMemoryAndWhatItAloneHolds) {
  Write(1);
  Take("full", 1000);
  const SnapshotMetrics metrics = Metrics(10);
  const auto before = metrics.Collect();
  EXPECT_EQ(Value(before, "ramvol_snapshot_create_time_seconds", "full"), 1000);
  EXPECT_GT(Value(before, "ramvol_snapshot_memory_bytes", "full"), kBytes);
  EXPECT_LT(Own(before, "full"), kBytes / 2) << "the volume shares it";
  EXPECT_EQ(MetricValue(before, "ramvol_metrics_snapshots_beyond_max"), 0);
  Write(2);
  const auto after = metrics.Collect();
  EXPECT_GT(Own(after, "full"), kBytes) << "the volume has other content now";
}

TEST_F(SnapshotMetricsTest, SnapshotsBeyondTheCapAreOneAsOldAsTheOldest) {
  Write(1);
  Take("c", 300);
  Write(2);
  Take("a", 500);
  Write(3);
  Take("b", 400);
  const auto families = Metrics(1).Collect();
  EXPECT_GE(Own(families, "a"), 0);
  EXPECT_EQ(Own(families, "b"), -1);
  EXPECT_EQ(Own(families, "c"), -1);
  EXPECT_EQ(
      Value(families, "ramvol_snapshot_create_time_seconds", "_other", ""),
      300);
  EXPECT_GT(Value(families, "ramvol_snapshot_memory_bytes", "_other", ""),
            2 * kBytes);
  EXPECT_EQ(MetricValue(families, "ramvol_metrics_snapshots_beyond_max"), 2);
}

TEST_F(SnapshotMetricsTest, AScrapeWithoutTimeMeasuresTheOldestMeasurement) {
  Write(1);
  Take("a");
  Take("b");
  Take("c");
  const SnapshotMetrics metrics = Metrics(10, /*measuring_ns=*/0);
  const auto known = [](const Families& families) {
    std::string names;
    for (const char* name : {"a", "b", "c"}) {
      if (Value(families, "ramvol_snapshot_memory_bytes", name) > 0) {
        names += name;
      }
    }
    return names;
  };
  const auto first = metrics.Collect();
  EXPECT_EQ(known(first), "a");
  EXPECT_GT(Own(first, "c"), 0) << "this is known at once";
  EXPECT_EQ(Value(first, "ramvol_snapshot_create_time_seconds", "c"), 1);
  EXPECT_EQ(known(metrics.Collect()), "ab");
  EXPECT_EQ(known(metrics.Collect()), "abc");
  ASSERT_THAT(engine_->DeleteVolume(*engine_->Find("@b"), false), IsOk());
  infos_.erase("b");
  Take("b");
  EXPECT_EQ(known(metrics.Collect()), "abc") << "first what was never measured";
}

TEST_F(SnapshotMetricsTest, ChosenLabelsAreOnAllSeries) {
  Take("a");
  Take("b");
  infos_["a"].labels = {{"team", "ci"}, {"env", "test"}};
  const auto families = Metrics(10, kAnHourNs, "team,app.name").Collect();
  for (const char* name :
       {"ramvol_snapshot_own_bytes", "ramvol_snapshot_memory_bytes",
        "ramvol_snapshot_create_time_seconds"}) {
    EXPECT_TRUE(MetricValue(families, name,
                            Values{{"snapshot", "a"},
                                   {"source", "disk"},
                                   {"label_team", "ci"},
                                   {"label_app_name", ""}}))
        << name;
    EXPECT_TRUE(MetricValue(families, name,
                            Values{{"snapshot", "b"},
                                   {"source", "disk"},
                                   {"label_team", ""},
                                   {"label_app_name", ""}}))
        << name;
  }
}

TEST_F(SnapshotMetricsTest, ASnapshotThatNobodyKnowsHasNoSeries) {
  Take("a");
  Take("b");
  infos_.erase("a");
  const auto families = Metrics(1).Collect();
  EXPECT_EQ(Own(families, "a"), -1);
  EXPECT_GE(Own(families, "b"), 0);
  EXPECT_EQ(MetricValue(families, "ramvol_metrics_snapshots_beyond_max"), 0);
}

}  // namespace
}  // namespace ramvol::metrics
