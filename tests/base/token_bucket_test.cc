#include "base/token_bucket.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

TEST(TokenBucket, LetsEverythingThroughWithoutARate) {
  TokenBucket bucket;
  EXPECT_EQ(bucket.WaitNs(uint64_t{1} << 62, 0), 0);
  bucket.Take(uint64_t{1} << 62);
  EXPECT_EQ(bucket.WaitNs(1, 0), 0);
}

TEST(TokenBucket, BeginsFull) {
  TokenBucket bucket;
  bucket.SetRate(100, 200, kSecond);
  EXPECT_EQ(bucket.WaitNs(200, kSecond), 0);
  bucket.Take(200);
  EXPECT_EQ(bucket.WaitNs(1, kSecond), kSecond / 100);
  EXPECT_EQ(bucket.WaitNs(100, kSecond), kSecond);
  EXPECT_EQ(bucket.WaitNs(1, kSecond + kSecond / 100), 0);
}

TEST(TokenBucket, LetsATenthOfASecondThroughByDefault) {
  TokenBucket bucket;
  bucket.SetRate(100, 0, 0);
  EXPECT_EQ(bucket.WaitNs(10, 0), 0);
  bucket.Take(10);
  EXPECT_GT(bucket.WaitNs(1, 0), 0);
  bucket.SetRate(1, 0, 0);
  EXPECT_EQ(bucket.WaitNs(1, 100 * kSecond), 0);
}

TEST(TokenBucket, LetsALargeAmountThroughAndOwesIt) {
  TokenBucket bucket;
  bucket.SetRate(100, 100, 0);
  EXPECT_EQ(bucket.WaitNs(1000, 0), 0);
  bucket.Take(1000);
  EXPECT_EQ(bucket.WaitNs(1, 0), 9 * kSecond + kSecond / 100);
}

TEST(TokenBucket, KeepsNoMoreThanASmallerBurst) {
  TokenBucket bucket;
  bucket.SetRate(100, 1000, 0);
  bucket.SetRate(100, 100, 0);
  EXPECT_EQ(bucket.WaitNs(100, 0), 0);
  bucket.Take(100);
  EXPECT_GT(bucket.WaitNs(1, 0), 0);
}

TEST(TokenBucket, WaitsForBoundedTime) {
  TokenBucket bucket;
  bucket.SetRate(1, 1, 0);
  bucket.Take(uint64_t{1} << 62);
  EXPECT_GT(bucket.WaitNs(1, 0), 0);
}

struct Case {
  uint64_t rate;
  uint64_t burst;
  uint64_t largest;
};

class TokenBucketModel : public testing::TestWithParam<Case> {};

// Takes random amounts whenever they may go, with pauses, and looks at all
// windows from one to another.
TEST_P(TokenBucketModel, NeverExceedsRateAndBurstInAnyWindow) {
  const auto& [rate, burst, largest] = GetParam();
  std::mt19937_64 random(7);
  TokenBucket bucket;
  bucket.SetRate(rate, burst, 0);
  std::vector<std::pair<int64_t, double>> taken;  // When, and the sum before.
  double sum = 0;
  int64_t now = 0;
  for (int i = 0; i < 1000; ++i) {
    if (random() % 8 == 0) now += static_cast<int64_t>(random() % kSecond);
    const uint64_t amount = 1 + random() % largest;
    // As who waits is woken: late, or not.
    for (int64_t wait; (wait = bucket.WaitNs(amount, now)) > 0;) {
      now += wait + static_cast<int64_t>(random() % 2 * (random() % 1'000'000));
    }
    bucket.Take(amount);
    taken.emplace_back(now, sum);
    sum += static_cast<double>(amount);
    for (const auto& [from, before] : taken) {
      const double seconds = static_cast<double>(now - from) / kSecond;
      ASSERT_LE(sum - before, static_cast<double>(std::max(burst, largest)) +
                                  static_cast<double>(rate) * seconds + 1e-3 +
                                  sum * 1e-9);
    }
  }
}

// Whoever always wants more gets the rate, however late he is woken within the
// burst.
TEST_P(TokenBucketModel, ReachesTheRate) {
  const auto& [rate, burst, largest] = GetParam();
  std::mt19937_64 random(7);
  TokenBucket bucket;
  bucket.SetRate(rate, burst, 0);
  double sum = 0;
  int64_t now = 0;
  while (now < 100 * kSecond) {
    const uint64_t amount = 1 + random() % std::min(largest, burst);
    for (int64_t wait; (wait = bucket.WaitNs(amount, now)) > 0;) now += wait;
    bucket.Take(amount);
    sum += static_cast<double>(amount);
  }
  EXPECT_GE(sum, static_cast<double>(rate) * 99);
}

INSTANTIATE_TEST_SUITE_P(Rates, TokenBucketModel,
                         testing::Values(Case{100, 10, 1}, Case{100, 100, 5},
                                         Case{1000, 5000, 100},
                                         Case{1 << 20, 1 << 20, 1 << 16},
                                         Case{1 << 16, 1 << 14, 1 << 24}));

}  // namespace
}  // namespace ramvol
