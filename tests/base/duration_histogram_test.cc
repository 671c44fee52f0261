#include "base/duration_histogram.h"

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace ramvol {
namespace {

// Where one duration is counted.
size_t BucketOf(int64_t ns) {
  const auto owned = std::make_unique<DurationHistogram>();
  DurationHistogram& histogram = *owned;
  histogram.Record(ns);
  const DurationHistogram::Snapshot all = histogram.Get();
  EXPECT_EQ(all.count(), 1u);
  size_t bucket = 0;
  while (all.buckets[bucket] == 0) ++bucket;
  return bucket;
}

TEST(DurationHistogramTest, BoundsArePowersOfTwoMicroseconds) {
  EXPECT_EQ(BucketOf(-1), 0u);
  EXPECT_EQ(BucketOf(0), 0u);
  EXPECT_EQ(BucketOf(1000), 0u);
  EXPECT_EQ(BucketOf(1001), 1u);
  EXPECT_EQ(BucketOf(2000), 1u);
  EXPECT_EQ(BucketOf(2001), 2u);
  EXPECT_EQ(BucketOf(1024 * 1000), 10u);
  EXPECT_EQ(BucketOf(int64_t{1000} << 24), 24u);
  EXPECT_EQ(BucketOf((int64_t{1000} << 24) + 1), 25u);
  EXPECT_EQ(BucketOf(INT64_MAX), 25u);
}

TEST(DurationHistogramTest, AddsUpWhatThreadsRecord) {
  constexpr int kThreads = 20;
  constexpr int kRecords = 1000;
  const auto owned = std::make_unique<DurationHistogram>();
  DurationHistogram& histogram = *owned;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&histogram] {
      for (int j = 0; j < kRecords; ++j) histogram.Record(1500);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const DurationHistogram::Snapshot all = histogram.Get();
  EXPECT_EQ(all.buckets[1], kThreads * kRecords);
  EXPECT_EQ(all.count(), kThreads * kRecords);
  EXPECT_EQ(all.sum_ns, uint64_t{1500} * kThreads * kRecords);
}

}  // namespace
}  // namespace ramvol
