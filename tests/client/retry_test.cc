#include "client/retry.h"

#include <functional>
#include <vector>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/manual_timer.h"

namespace ramvol {
namespace {

using ::testing::ElementsAre;

class RetryTest : public ::testing::Test {
 protected:
  absl::Status Retry(
      const std::function<absl::Status(absl::Duration)>& attempt) {
    return RetryUnavailable(options_, timer_, random_,
                            [&](absl::Duration left) {
                              times_.push_back(timer_.Now() - start_);
                              return attempt(left);
                            });
  }

  ClientOptions options_;
  ManualTimer timer_;
  absl::BitGen random_;
  const absl::Time start_ = timer_.Now();
  std::vector<absl::Duration> times_;  // Of the attempts.
};

TEST_F(RetryTest, ReturnsTheFirstAnswerThatIsNotUnavailable) {
  int calls = 0;
  EXPECT_TRUE(absl::IsNotFound(Retry([&](absl::Duration) {
    return ++calls < 4 ? absl::UnavailableError("x") : absl::NotFoundError("y");
  })));
  EXPECT_EQ(calls, 4);
  EXPECT_GE(times_[1], options_.initial_backoff / 2);
  EXPECT_LE(times_[1], options_.initial_backoff);
  EXPECT_GE(times_[3], options_.initial_backoff * 7 / 2);
}

TEST_F(RetryTest, GivesUpWithOneLastAttemptAtReconnectTimeout) {
  options_.reconnect_timeout = absl::Seconds(7);
  absl::Status status =
      Retry([](absl::Duration) { return absl::UnavailableError("gone"); });
  EXPECT_EQ(status, absl::UnavailableError("gone"));
  EXPECT_EQ(times_.back(), absl::Seconds(7));
}

TEST_F(RetryTest, ZeroReconnectTimeoutMeansOneAttempt) {
  options_.reconnect_timeout = absl::ZeroDuration();
  EXPECT_FALSE(
      Retry([](absl::Duration) { return absl::UnavailableError("x"); }).ok());
  EXPECT_THAT(times_, ElementsAre(absl::ZeroDuration()));
}

TEST_F(RetryTest, ReconnectTimeoutCountsFromTheFirstLoss) {
  options_.reconnect_timeout = absl::Seconds(1);
  bool first = true;
  EXPECT_FALSE(Retry([&](absl::Duration) {
                 if (first) timer_.Advance(absl::Seconds(20));
                 first = false;
                 return absl::UnavailableError("x");
               }).ok());
  EXPECT_EQ(times_.back(), absl::Seconds(21));
}

TEST_F(RetryTest, AttemptsStayWithinTheTimeout) {
  options_.timeout = absl::Seconds(5);
  EXPECT_FALSE(Retry([&](absl::Duration left) {
                 EXPECT_EQ(left, absl::Seconds(5) - times_.back());
                 EXPECT_GT(left, absl::ZeroDuration());
                 return absl::UnavailableError("x");
               }).ok());
  EXPECT_LT(times_.back(), absl::Seconds(5));
}

}  // namespace
}  // namespace ramvol
