#include "base/metrics/family.h"

#include <cstddef>
#include <limits>

#include "base/duration_histogram.h"
#include "gtest/gtest.h"
#include "prometheus/metric_family.h"
#include "prometheus/metric_type.h"

namespace ramvol::metrics {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

TEST(FamilyTest, HasNameHelpAndType) {
  const MetricFamily family =
      Family("x_total", "What it counts.", MetricType::Counter);
  EXPECT_EQ(family.name, "x_total");
  EXPECT_EQ(family.help, "What it counts.");
  EXPECT_EQ(family.type, MetricType::Counter);
  EXPECT_TRUE(family.metric.empty());
}

TEST(FamilyTest, OfOneMetricHasNoLabels) {
  const MetricFamily gauge = Gauge("g", "h", 7);
  EXPECT_EQ(gauge.type, MetricType::Gauge);
  ASSERT_EQ(gauge.metric.size(), 1u);
  EXPECT_EQ(gauge.metric[0].gauge.value, 7);
  EXPECT_TRUE(gauge.metric[0].label.empty());
  const MetricFamily counter = Counter("c", "h", 8);
  EXPECT_EQ(counter.type, MetricType::Counter);
  EXPECT_EQ(counter.metric.at(0).counter.value, 8);
}

TEST(FamilyTest, KeepsLabelsInOrder) {
  MetricFamily family = Family("c", "h", MetricType::Counter);
  AddCounter(family, {{"volume", "disk"}, {"operation", "read"}}, 3);
  AddCounter(family, {{"volume", "tape"}, {"operation", "read"}}, 4);
  ASSERT_EQ(family.metric.size(), 2u);
  const auto& labels = family.metric[0].label;
  ASSERT_EQ(labels.size(), 2u);
  EXPECT_EQ(labels[0].name, "volume");
  EXPECT_EQ(labels[0].value, "disk");
  EXPECT_EQ(labels[1].name, "operation");
  EXPECT_EQ(labels[1].value, "read");
  EXPECT_EQ(family.metric[1].counter.value, 4);
}

// Buckets are not cumulative in a DurationHistogram, but are in Prometheus.
TEST(FamilyTest, HistogramsAreCumulativeAndInSeconds) {
  DurationHistogram durations;
  durations.Record(900);             // Up to 1 us.
  durations.Record(1500);            // Up to 2 us.
  durations.Record(60'000'000'000);  // More than the last bound.
  MetricFamily family = Family("h", "h", MetricType::Histogram);
  AddHistogram(family, {}, durations.Get());
  ASSERT_EQ(family.metric.size(), 1u);
  const auto& histogram = family.metric[0].histogram;
  constexpr size_t kLast = DurationHistogram::kBuckets - 1;
  ASSERT_EQ(histogram.bucket.size(), kLast + 1);
  EXPECT_DOUBLE_EQ(histogram.bucket[0].upper_bound, 1e-6);
  EXPECT_EQ(histogram.bucket[0].cumulative_count, 1u);
  EXPECT_DOUBLE_EQ(histogram.bucket[1].upper_bound, 2e-6);
  EXPECT_EQ(histogram.bucket[1].cumulative_count, 2u);
  EXPECT_DOUBLE_EQ(histogram.bucket[kLast - 1].upper_bound, 16.777216);
  EXPECT_EQ(histogram.bucket[kLast - 1].cumulative_count, 2u);
  EXPECT_EQ(histogram.bucket[kLast].upper_bound,
            std::numeric_limits<double>::infinity());
  EXPECT_EQ(histogram.bucket[kLast].cumulative_count, 3u);
  EXPECT_EQ(histogram.sample_count, 3u);
  EXPECT_DOUBLE_EQ(histogram.sample_sum, 60.0000024);
}

}  // namespace
}  // namespace ramvol::metrics
