#include "server/status/quantile.h"

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "base/duration_histogram.h"
#include "gtest/gtest.h"

namespace ramvol::status {
namespace {

using Snapshot = DurationHistogram::Snapshot;

// `count` durations in one bucket.
Snapshot In(size_t bucket, uint64_t count) {
  Snapshot snapshot;
  snapshot.buckets[bucket] = count;
  return snapshot;
}

TEST(QuantileTest, OfNothingIsNotANumber) {
  EXPECT_TRUE(std::isnan(Quantile({}, {}, 0.5)));
  EXPECT_TRUE(std::isnan(Quantile(In(3, 5), In(3, 5), 0.5)));
}

TEST(QuantileTest, LiesWithinItsBucket) {
  // Bucket 3 is from 4 to 8 us.
  EXPECT_DOUBLE_EQ(Quantile({}, In(3, 100), 0), 4e-6);
  EXPECT_DOUBLE_EQ(Quantile({}, In(3, 100), 0.5), 6e-6);
  EXPECT_DOUBLE_EQ(Quantile({}, In(3, 100), 1), 8e-6);
  EXPECT_DOUBLE_EQ(Quantile({}, In(0, 100), 0.25), 0.25e-6);
}

TEST(QuantileTest, CountsAcrossBuckets) {
  Snapshot after = In(1, 90);
  after.buckets[5] = 10;
  EXPECT_DOUBLE_EQ(Quantile({}, after, 0.9), 2e-6);
  EXPECT_DOUBLE_EQ(Quantile({}, after, 0.95), 24e-6);
}

TEST(QuantileTest, CountsOnlyWhatCameBetweenTheSnapshots) {
  Snapshot after = In(1, 1000);
  after.buckets[5] = 10;
  EXPECT_DOUBLE_EQ(Quantile(In(1, 1000), after, 0.5), 24e-6);
  // A bucket of which the earlier snapshot saw more.
  EXPECT_DOUBLE_EQ(Quantile(In(1, 1001), after, 0.5), 24e-6);
}

TEST(QuantileTest, EndsAtTheLastBound) {
  constexpr size_t kLast = DurationHistogram::kBuckets - 1;
  EXPECT_DOUBLE_EQ(Quantile({}, In(kLast, 3), 0.5), 16.777216);
}

}  // namespace
}  // namespace ramvol::status
