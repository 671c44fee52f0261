#include "server/status/history.h"

#include <cmath>
#include <cstddef>

#include "base/duration_histogram.h"
#include "gtest/gtest.h"
#include "server/status/quantile.h"

namespace ramvol::status {
namespace {

using engine::Operation;

constexpr size_t kRead = static_cast<size_t>(Operation::kRead);

// `seconds` after the beginning.
Reading At(int seconds) {
  Reading reading;
  reading.time = absl::FromUnixSeconds(1'000'000 + seconds);
  reading.steady_ns = int64_t{1'000'000'000} * seconds;
  return reading;
}

TEST(HistoryTest, TellsRatesBetweenReadings) {
  History history;
  Reading first = At(0);
  first.engine.read_bytes = 1000;
  first.engine.operations[kRead].buckets[3] = 7;
  history.Add(first);
  EXPECT_TRUE(history.After(absl::InfinitePast()).empty());

  Reading second = At(2);
  second.engine.read_bytes = 5000;
  second.engine.written_bytes = 64;
  second.engine.operations[kRead].buckets[3] = 27;
  second.engine.errors[1] = 4;
  second.engine.hot_cache_hits = 3;
  second.engine.hot_cache_misses = 1;
  second.engine.memory_used_bytes = 12345;
  history.Add(second);
  const auto samples = history.After(absl::InfinitePast());
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(samples[0].time, second.time);
  EXPECT_EQ(samples[0].read_bytes, 2000);
  EXPECT_EQ(samples[0].written_bytes, 32);
  EXPECT_EQ(samples[0].operations[kRead], 10);
  EXPECT_EQ(samples[0].errors, 2);
  EXPECT_EQ(samples[0].hot_cache_hit_ratio, 0.75);
  EXPECT_EQ(samples[0].memory_used_bytes, 12345u);
  // Between 4 and 8 us.
  EXPECT_GT(samples[0].read_p50, 4e-6);
  EXPECT_LT(samples[0].read_p50, samples[0].read_p99);
  EXPECT_LE(samples[0].read_p99, 8e-6);
  EXPECT_TRUE(std::isnan(samples[0].write_p99));
}

TEST(HistoryTest, TellsNothingOfWhatWasNot) {
  History history;
  history.Add(At(0));
  history.Add(At(2));
  const auto samples = history.After(absl::InfinitePast());
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(samples[0].read_bytes, 0);
  EXPECT_TRUE(std::isnan(samples[0].hot_cache_hit_ratio));
}

TEST(HistoryTest, KeepsTheLastMinutesOnly) {
  History history;
  const int readings = static_cast<int>(History::kMaxSamples) + 50;
  for (int i = 0; i <= readings; ++i) history.Add(At(2 * i));
  const auto all = history.After(absl::InfinitePast());
  ASSERT_EQ(all.size(), History::kMaxSamples);
  EXPECT_EQ(all.back().time, At(2 * readings).time);
  EXPECT_EQ(all.front().time, At(2 * 51).time);
  EXPECT_EQ(history.After(At(2 * readings - 4).time).size(), 2u);
  EXPECT_TRUE(history.After(all.back().time).empty());
}

TEST(QuantileTest, InterpolatesWithinBuckets) {
  DurationHistogram::Snapshot before;
  DurationHistogram::Snapshot after;
  EXPECT_TRUE(std::isnan(Quantile(before, after, 0.5)));
  before.buckets[0] = 100;
  after.buckets[0] = 150;  // 50 of up to 1 us.
  after.buckets[2] = 50;   // 50 of 2 to 4 us.
  EXPECT_DOUBLE_EQ(Quantile(before, after, 0.25), 0.5e-6);
  EXPECT_DOUBLE_EQ(Quantile(before, after, 0.5), 1e-6);
  EXPECT_DOUBLE_EQ(Quantile(before, after, 0.75), 3e-6);
  EXPECT_DOUBLE_EQ(Quantile(before, after, 1), 4e-6);
}

TEST(QuantileTest, BoundsWhatTookLongest) {
  DurationHistogram::Snapshot before;
  DurationHistogram::Snapshot after;
  after.buckets[DurationHistogram::kBuckets - 1] = 1;
  EXPECT_NEAR(Quantile(before, after, 0.99), 16.8, 0.1);
}

}  // namespace
}  // namespace ramvol::status
