#include "base/metrics/door_metrics.h"

#include "base/door_stats.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/metric_value.h"

namespace ramvol::metrics {
namespace {

using ::ramvol::testing::MetricValue;
using ::testing::Optional;
constexpr char kName[] = "ramvol_connections_turned_away_total";

TEST(DoorMetricsTest, CountEachCauseOfEachDoor) {
  DoorStats nbd;
  DoorStats http;
  nbd.Count(TurnedAway::kFull);
  nbd.Count(TurnedAway::kSlowClient);
  nbd.Count(TurnedAway::kSlowClient);
  http.Count(TurnedAway::kFull);
  const auto families = DoorMetrics({{"nbd", &nbd}, {"http", &http}}).Collect();
  ASSERT_EQ(families.size(), 1u);
  EXPECT_EQ(families[0].metric.size(), 2 * kTurnedAwayNames.size());
  const auto count = [&families](const char* door, const char* cause) {
    return MetricValue(families, kName, {{"protocol", door}, {"cause", cause}});
  };
  EXPECT_THAT(count("nbd", "full"), Optional(1));
  EXPECT_THAT(count("nbd", "slow_client"), Optional(2));
  EXPECT_THAT(count("nbd", "resets"), Optional(0));
  EXPECT_THAT(count("http", "full"), Optional(1));
  EXPECT_THAT(count("http", "slow_client"), Optional(0));
}

}  // namespace
}  // namespace ramvol::metrics
