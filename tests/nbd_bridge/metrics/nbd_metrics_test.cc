#include "nbd_bridge/metrics/nbd_metrics.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nbd_bridge/metrics/bridge_metrics.h"
#include "nbd_bridge/stats.h"
#include "prometheus/client_metric.h"
#include "prometheus/metric_family.h"
#include "prometheus/metric_type.h"
#include "prometheus/text_serializer.h"

namespace ramvol::metrics {
namespace {

using ::prometheus::ClientMetric;
using ::prometheus::MetricFamily;
using ::prometheus::MetricType;
using ::testing::HasSubstr;
using ::testing::Not;

const MetricFamily& Find(const std::vector<MetricFamily>& families,
                         const std::string& name) {
  for (const MetricFamily& family : families) {
    if (family.name == name) return family;
  }
  ADD_FAILURE() << "no family " << name;
  static const MetricFamily* const none = new MetricFamily();
  return *none;
}

std::string Text(const std::vector<MetricFamily>& families) {
  return prometheus::TextSerializer().Serialize(families);
}

TEST(NbdMetricsTest, ConnectionsAndRequests) {
  nbd::NbdStats stats;
  const NbdMetrics metrics(&stats);
  stats.ConnectionOpened();
  stats.ConnectionOpened();
  stats.ConnectionClosed();
  for (int i = 0; i < 3; ++i) stats.RequestBegan();
  stats.RequestEnded(nbd::CommandKind::kWriteZeroes, nbd::ErrorKind::kNoSpace,
                     1000);
  const std::string text = Text(metrics.Collect());
  EXPECT_THAT(text, HasSubstr("\nramvol_nbd_connections 1\n"));
  EXPECT_THAT(text, HasSubstr("\nramvol_nbd_inflight_requests 2\n"));
  EXPECT_THAT(text, HasSubstr("\nramvol_nbd_requests_total{command=\"write_"
                              "zeroes\",error=\"enospc\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("\nramvol_nbd_requests_total{command=\"read\","
                              "error=\"none\"} 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("error=\"eio\"")));
}

TEST(NbdMetricsTest, DurationsAreACumulativeHistogram) {
  nbd::NbdStats stats;
  const NbdMetrics metrics(&stats);
  for (const int64_t nanoseconds :
       {int64_t{1'500}, int64_t{1'500}, int64_t{900'000},
        int64_t{60'000'000'000}}) {
    stats.RequestBegan();
    stats.RequestEnded(nbd::CommandKind::kRead, nbd::ErrorKind::kNone,
                       nanoseconds);
  }
  const auto families = metrics.Collect();
  const MetricFamily family =
      Find(families, "ramvol_nbd_request_duration_seconds");
  EXPECT_EQ(family.type, MetricType::Histogram);
  ASSERT_EQ(family.metric.size(), nbd::kCommandNames.size());
  const ClientMetric& read = family.metric[0];
  EXPECT_EQ(read.label[0].value, "read");
  EXPECT_EQ(read.histogram.sample_count, 4);
  EXPECT_NEAR(read.histogram.sample_sum, 60.000903, 1e-9);
  const auto& buckets = read.histogram.bucket;
  ASSERT_EQ(buckets.size(), DurationHistogram::kBuckets);
  EXPECT_NEAR(buckets[0].upper_bound, 1e-6, 1e-12);
  EXPECT_EQ(buckets[0].cumulative_count, 0);
  EXPECT_NEAR(buckets[1].upper_bound, 2e-6, 1e-12);
  EXPECT_EQ(buckets[1].cumulative_count, 2);
  EXPECT_NEAR(buckets[10].upper_bound, 1024e-6, 1e-9);
  EXPECT_EQ(buckets[10].cumulative_count, 3);
  EXPECT_TRUE(std::isinf(buckets.back().upper_bound));
  EXPECT_EQ(buckets.back().cumulative_count, 4);
}

TEST(BridgeMetricsTest, TellsOfItsStreams) {
  const std::string text =
      Text(BridgeMetrics([] { return 7; }, [] { return 2; }).Collect());
  EXPECT_THAT(text, HasSubstr("\nramvol_nbd_reconnects_total 7\n"));
  EXPECT_THAT(text, HasSubstr("\nramvol_nbd_lost_streams 2\n"));
}

}  // namespace
}  // namespace ramvol::metrics
