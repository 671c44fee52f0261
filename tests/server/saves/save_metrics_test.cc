#include "server/saves/save_metrics.h"

#include <map>
#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/saves/save_dir.h"
#include "tests/server/saves/save_fixture.h"
#include "tests/support/metric_value.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace ramvol::metrics {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::MetricValue;
using ::ramvol::testing::TempDir;

double Value(const SaveMetrics& metrics, const std::string& name,
             const std::map<std::string, std::string>& labels = {}) {
  return MetricValue(metrics.Collect(), name, labels).value_or(-1);
}

TEST(SaveMetricsTest, WithoutASaveDirAllIsZero) {
  const SaveMetrics metrics(nullptr);
  EXPECT_EQ(Value(metrics, "ramvol_saves_total", {{"result", "ok"}}), 0);
  EXPECT_EQ(Value(metrics, "ramvol_save_failed"), 0);
  EXPECT_EQ(Value(metrics, "ramvol_save_timestamp_seconds"), 0);
  EXPECT_EQ(Value(metrics, "ramvol_save_damaged_images"), 0);
}

TEST(SaveMetricsTest, TellsOfTheLastSaveAndOfFailures) {
  TempDir dir;
  saves::TestVolumes volumes;
  saves::TestVolumes after;
  volumes.Create("disk", 1 << 20);
  auto saves = saves::SaveDir::Open(dir.path() + "/saves");
  ASSERT_THAT(saves.status(), IsOk());
  const SaveMetrics metrics(saves->get());
  ASSERT_THAT((*saves)->Save(&volumes.engine(), false, nullptr).status(),
              IsOk());
  EXPECT_EQ(Value(metrics, "ramvol_saves_total", {{"result", "ok"}}), 1);
  EXPECT_EQ(Value(metrics, "ramvol_save_failed"), 0);
  EXPECT_GT(Value(metrics, "ramvol_save_timestamp_seconds"), 1.7e9);
  EXPECT_GT(Value(metrics, "ramvol_save_seconds"), 0);
  EXPECT_GT(Value(metrics, "ramvol_save_bytes"), 65536);

  const saves::Progress full = [](uint64_t) {
    return absl::ResourceExhaustedError("full");
  };
  EXPECT_FALSE((*saves)->Save(&volumes.engine(), false, full).ok());
  EXPECT_EQ(Value(metrics, "ramvol_saves_total", {{"result", "failed"}}), 1);
  EXPECT_EQ(Value(metrics, "ramvol_save_failed"), 1);

  ASSERT_THAT((*saves)->Begin(&after.engine(), nullptr).status(), IsOk());
  EXPECT_GT(Value(metrics, "ramvol_save_read_bytes"), 65536);
}

}  // namespace
}  // namespace ramvol::metrics
