#include "client/backoff.h"

#include "absl/random/random.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::Le;

constexpr absl::Duration kInitial = absl::Milliseconds(20);
constexpr absl::Duration kMax = absl::Milliseconds(100);

auto UpperHalfOf(absl::Duration pause) {
  return AllOf(Ge(pause / 2), Le(pause));
}

TEST(BackoffTest, PausesDoubleUpToTheLongest) {
  absl::BitGen random;
  Backoff backoff(kInitial, kMax);
  EXPECT_THAT(backoff.Next(random), UpperHalfOf(kInitial));
  EXPECT_THAT(backoff.Next(random), UpperHalfOf(2 * kInitial));
  EXPECT_THAT(backoff.Next(random), UpperHalfOf(4 * kInitial));
  for (int i = 0; i < 100; ++i) {
    EXPECT_THAT(backoff.Next(random), UpperHalfOf(kMax));
  }
}

TEST(BackoffTest, ResetBeginsAnew) {
  absl::BitGen random;
  Backoff backoff(kInitial, kMax);
  for (int i = 0; i < 10; ++i) backoff.Next(random);
  backoff.Reset();
  EXPECT_THAT(backoff.Next(random), UpperHalfOf(kInitial));
}

}  // namespace
}  // namespace ramvol
