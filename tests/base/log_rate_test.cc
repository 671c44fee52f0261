#include "base/log_rate.h"

#include <cstdint>

#include "base/log_line.h"
#include "gtest/gtest.h"

namespace ramvol {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kNow = 1000 * kSecondNs;

class LogRateTest : public ::testing::Test {
 protected:
  // How many of `tries` events at `now_ns` are allowed.
  int64_t Allowed(Event event, int64_t tries, int64_t now_ns) {
    int64_t allowed = 0;
    for (int64_t i = 0; i < tries; ++i) {
      allowed += rate_.Allow(event, {}, now_ns) ? 1 : 0;
    }
    return allowed;
  }

  LogRate rate_;
};

TEST_F(LogRateTest, AllowsABurstThenSoManyASecond) {
  EXPECT_EQ(Allowed(Event::kAttached, 1000, kNow), LogRate::kBurst);
  EXPECT_EQ(Allowed(Event::kAttached, 1000, kNow + kSecondNs),
            LogRate::kPerSecond);
  // After a quiet time there is a whole burst again, and no more than that.
  EXPECT_EQ(Allowed(Event::kAttached, 1000, kNow + 3600 * kSecondNs),
            LogRate::kBurst);
}

TEST_F(LogRateTest, KindsDoNotTakeFromEachOther) {
  EXPECT_EQ(Allowed(Event::kAttached, 1000, kNow), LogRate::kBurst);
  EXPECT_EQ(Allowed(Event::kDetached, 1000, kNow), LogRate::kBurst);
}

TEST_F(LogRateTest, CountsWhatItLeavesOut) {
  Allowed(Event::kAttached, LogRate::kBurst + 7, kNow);
  rate_.CountLeftOut(Event::kAttached);
  EXPECT_EQ(rate_.TakeLeftOut(Event::kDetached), 0u);
  EXPECT_EQ(rate_.TakeLeftOut(Event::kAttached), 8u);
  EXPECT_EQ(rate_.TakeLeftOut(Event::kAttached), 0u);
}

TEST_F(LogRateTest, RepeatingEventsComeOnceForVolumeAndReason) {
  const LogFields full = {.volume = "a", .reason = "SERVER_MEMORY_LIMIT"};
  EXPECT_TRUE(rate_.Allow(Event::kNoSpace, full, kNow));
  EXPECT_FALSE(
      rate_.Allow(Event::kNoSpace, full, kNow + LogRate::kRepeatNs - 1));
  EXPECT_TRUE(rate_.Allow(Event::kNoSpace, full, kNow + LogRate::kRepeatNs));
  EXPECT_EQ(rate_.TakeLeftOut(Event::kNoSpace), 1u);
}

TEST_F(LogRateTest, OtherVolumesAndReasonsAreNoRepetition) {
  EXPECT_TRUE(
      rate_.Allow(Event::kNoSpace, {.volume = "a", .reason = "x"}, kNow));
  EXPECT_TRUE(
      rate_.Allow(Event::kNoSpace, {.volume = "b", .reason = "x"}, kNow));
  EXPECT_TRUE(
      rate_.Allow(Event::kNoSpace, {.volume = "a", .reason = "y"}, kNow));
  EXPECT_TRUE(
      rate_.Allow(Event::kDataLoss, {.volume = "a", .reason = "x"}, kNow));
}

TEST_F(LogRateTest, EventsThatDoNotRepeatAreAllLogged) {
  EXPECT_TRUE(rate_.Allow(Event::kAttached, {.volume = "a"}, kNow));
  EXPECT_TRUE(rate_.Allow(Event::kAttached, {.volume = "a"}, kNow));
}

}  // namespace
}  // namespace ramvol
