#include "base/usage_limiter.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kSecond = 1000 * kMs;

// Time passes when the test says so.
class UsageLimiterTest : public testing::Test {
 protected:
  using Wait = std::shared_ptr<UsageWait>;

  // Null when it may begin at once; else done_ gets the name when it may.
  Wait Take(const UsageLimiters& limiters, UsageLimiter::Flow flow,
            const std::string& name, uint64_t bytes = 0) {
    return limiters.Take(flow, {.bytes = bytes},
                         [this, name] { done_.push_back(name); });
  }
  Wait Take(UsageLimiter::Flow flow, const std::string& name,
            uint64_t bytes = 0) {
    return Take(volume_only_, flow, name, bytes);
  }
  // Fills the bucket's debt, so that what follows waits.
  void Exhaust() {
    while (Take(99, "exhausts") == nullptr) {
    }
    Pass(kSecond);
    done_.clear();
  }
  // Wakes the timer every millisecond.
  void Pass(int64_t ns) {
    for (const int64_t until = now_ns_ + ns; now_ns_ < until;) {
      now_ns_ += std::min(kMs, until - now_ns_);
      (void)timer_.RunDue();
    }
  }

  int64_t now_ns_ = kSecond;
  UsageTimer timer_{[this] { return now_ns_; }, /*has_thread=*/false};
  std::shared_ptr<UsageLimiter> volume_ = std::make_shared<UsageLimiter>();
  std::shared_ptr<UsageLimiter> identity_ = std::make_shared<UsageLimiter>();
  UsageLimiters volume_only_{nullptr, volume_};
  UsageLimiters both_{identity_, volume_};
  std::vector<std::string> done_;
};

TEST_F(UsageLimiterTest, LimitsNothingAtFirst) {
  EXPECT_FALSE(volume_only_.limited());
  EXPECT_EQ(Take(1, "a", uint64_t{1} << 60), nullptr);
  volume_->SetLimits({.io_streams = 1}, &timer_);
  EXPECT_FALSE(volume_only_.limited());
}

TEST_F(UsageLimiterTest, LetsOperationsGoInOrderAtTheRate) {
  volume_->SetLimits({.iops_total = 10}, &timer_);
  EXPECT_TRUE(volume_only_.limited());
  EXPECT_EQ(Take(1, "a"), nullptr);
  EXPECT_NE(Take(1, "b"), nullptr);
  EXPECT_NE(Take(1, "c"), nullptr);
  Pass(99 * kMs);
  EXPECT_THAT(done_, IsEmpty());
  Pass(1 * kMs);
  EXPECT_THAT(done_, ElementsAre("b"));
  Pass(100 * kMs);
  EXPECT_THAT(done_, ElementsAre("b", "c"));
  const UsageLimiter::Stats stats = volume_->GetStats();
  EXPECT_EQ(stats.throttled_operations, 2u);
  EXPECT_EQ(stats.throttled_ns, 300u * kMs);
  EXPECT_EQ(stats.waiting, 0u);
}

TEST_F(UsageLimiterTest, LimitsBytes) {
  volume_->SetLimits({.bps_total = 1000, .bps_total_max = 1000}, &timer_);
  EXPECT_EQ(Take(1, "a", 1000), nullptr);
  EXPECT_NE(Take(1, "b", 500), nullptr);
  Pass(499 * kMs);
  EXPECT_THAT(done_, IsEmpty());
  Pass(1 * kMs);
  EXPECT_THAT(done_, ElementsAre("b"));
}

TEST_F(UsageLimiterTest, LetsWhatIsLargerThanTheBurstGo) {
  volume_->SetLimits({.bps_total = 1000, .bps_total_max = 1000}, &timer_);
  EXPECT_EQ(Take(1, "large", 10'000), nullptr);
  EXPECT_NE(Take(1, "next", 1), nullptr);
  Pass(9 * kSecond);
  EXPECT_THAT(done_, IsEmpty());
  Pass(2 * kMs);
  EXPECT_THAT(done_, ElementsAre("next"));
}

TEST_F(UsageLimiterTest, NobodyOvertakesWhatWaits) {
  volume_->SetLimits({.bps_total = 1000, .bps_total_max = 1000}, &timer_);
  EXPECT_EQ(Take(1, "a", 600), nullptr);
  EXPECT_NE(Take(1, "large", 1000), nullptr);
  EXPECT_NE(Take(1, "small", 1), nullptr);
  Pass(kSecond);
  EXPECT_THAT(done_, ElementsAre("large", "small"));
}

TEST_F(UsageLimiterTest, AHigherLimitHoldsForWhatWaits) {
  volume_->SetLimits({.iops_total = 1}, &timer_);
  EXPECT_EQ(Take(1, "a"), nullptr);
  EXPECT_NE(Take(1, "b"), nullptr);
  volume_->SetLimits({.iops_total = 1000}, &timer_);
  Pass(2 * kMs);
  EXPECT_THAT(done_, ElementsAre("b"));
}

TEST_F(UsageLimiterTest, WithoutLimitsAllThatWaitsGoesOn) {
  volume_->SetLimits({.iops_total = 1}, &timer_);
  EXPECT_EQ(Take(1, "a"), nullptr);
  EXPECT_NE(Take(1, "b"), nullptr);
  EXPECT_NE(Take(2, "c"), nullptr);
  volume_->SetLimits({}, &timer_);
  (void)timer_.RunDue();
  EXPECT_THAT(done_, ElementsAre("b", "c"));
}

TEST_F(UsageLimiterTest, AReleasedTimerLetsAllGoOn) {
  volume_->SetLimits({.iops_total = 1}, &timer_);
  EXPECT_EQ(Take(1, "a"), nullptr);
  EXPECT_NE(Take(1, "b"), nullptr);
  timer_.Release();
  (void)timer_.RunDue();
  EXPECT_THAT(done_, ElementsAre("b"));
  EXPECT_EQ(Take(1, "c"), nullptr);
}

TEST_F(UsageLimiterTest, WhatIsWithdrawnIsNotAdmittedAndTakesNothing) {
  volume_->SetLimits({.iops_total = 10}, &timer_);
  EXPECT_EQ(Take(1, "a"), nullptr);
  const Wait b = Take(1, "b");
  ASSERT_NE(b, nullptr);
  EXPECT_NE(Take(1, "c"), nullptr);
  EXPECT_TRUE(volume_only_.Withdraw(1, b.get()));
  EXPECT_FALSE(volume_only_.Withdraw(1, b.get()));
  EXPECT_EQ(volume_->GetStats().waiting, 1u);
  Pass(100 * kMs);
  EXPECT_THAT(done_, ElementsAre("c"));
}

TEST_F(UsageLimiterTest, WhatWasAdmittedCannotBeWithdrawn) {
  volume_->SetLimits({.iops_total = 10}, &timer_);
  EXPECT_EQ(Take(1, "a"), nullptr);
  const Wait b = Take(1, "b");
  ASSERT_NE(b, nullptr);
  Pass(kSecond);
  EXPECT_FALSE(volume_only_.Withdraw(1, b.get()));
}

TEST_F(UsageLimiterTest, HoldsToBothLimits) {
  identity_->SetLimits({.iops_total = 10}, &timer_);
  volume_->SetLimits({.iops_total = 5}, &timer_);
  EXPECT_EQ(Take(both_, 1, "a"), nullptr);
  EXPECT_NE(Take(both_, 1, "b"), nullptr);
  EXPECT_NE(Take(both_, 1, "c"), nullptr);
  Pass(199 * kMs);
  EXPECT_THAT(done_, IsEmpty());
  Pass(201 * kMs);
  EXPECT_THAT(done_, ElementsAre("b", "c"));
}

TEST_F(UsageLimiterTest, WithdrawsFromEitherLimit) {
  identity_->SetLimits({.iops_total = 10}, &timer_);
  volume_->SetLimits({.iops_total = 1}, &timer_);
  EXPECT_EQ(Take(both_, 1, "a"), nullptr);
  const Wait b = Take(both_, 1, "b");
  Pass(150 * kMs);  // At the volume's now.
  const Wait c = Take(both_, 1, "c");
  EXPECT_TRUE(both_.Withdraw(1, c.get()));
  EXPECT_TRUE(both_.Withdraw(1, b.get()));
  Pass(5 * kSecond);
  EXPECT_THAT(done_, IsEmpty());
  EXPECT_EQ(identity_->GetStats().waiting + volume_->GetStats().waiting, 0u);
}

// A volume's queue does not hold up another's of the same identity.
TEST_F(UsageLimiterTest, AVolumeThatWaitsHoldsUpNoOther) {
  identity_->SetLimits({.iops_total = 1000}, &timer_);
  volume_->SetLimits({.iops_total = 1}, &timer_);
  for (int i = 0; i < 10; ++i) (void)Take(both_, 1, "slow");
  EXPECT_EQ(Take(UsageLimiters(identity_, nullptr), 2, "other"), nullptr);
}

// Flow 2 has one operation at a time, flow 1 hundreds.
TEST_F(UsageLimiterTest, AFlowOfOneOperationGetsItsPart) {
  volume_->SetLimits({.iops_total = 100}, &timer_);
  Exhaust();
  std::map<int, int> done;
  std::function<void(int)> again = [&](int flow) {
    (void)volume_only_.Take(static_cast<uint64_t>(flow), {}, [&, flow] {
      ++done[flow];
      again(flow);
    });
  };
  for (int i = 0; i < 200; ++i) again(1);
  again(2);
  Pass(10 * kSecond);
  EXPECT_NEAR(done[1], done[2], 5);
  EXPECT_NEAR(done[1] + done[2], 1000, 10);
}

// By bytes: who asks for more at a time is admitted less often.
TEST_F(UsageLimiterTest, FlowsGetEqualPartsOfBytes) {
  volume_->SetLimits({.bps_total = 1 << 20}, &timer_);
  std::map<int, uint64_t> bytes;
  std::function<void(int, uint64_t)> again = [&](int flow, uint64_t most) {
    (void)volume_only_.Take(static_cast<uint64_t>(flow), {.bytes = most},
                            [&, flow, most] {
                              bytes[flow] += most;
                              again(flow, most);
                            });
  };
  while (Take(99, "exhausts", 4096) == nullptr) {
  }
  for (int i = 0; i < 64; ++i) {
    again(1, 4096);
    again(2, 65536);
    again(3, 8192);
  }
  Pass(30 * kSecond);
  for (const int flow : {1, 2, 3}) {
    EXPECT_NEAR(static_cast<double>(bytes[flow]), 10 << 20, 1 << 18) << flow;
  }
}

TEST_F(UsageLimiterTest, CountsPlaces) {
  volume_->SetLimits({.io_streams = 1}, &timer_);
  UsageLimiter::Place first;
  UsageLimiter::Place second;
  UsageLimiter::Place connection;
  EXPECT_TRUE(volume_->Enter(UsageLimiter::Kind::kIoStream, &first));
  EXPECT_FALSE(volume_->Enter(UsageLimiter::Kind::kIoStream, &second));
  EXPECT_TRUE(volume_->Enter(UsageLimiter::Kind::kNbdConnection, &connection));
  first = UsageLimiter::Place();
  EXPECT_TRUE(volume_->Enter(UsageLimiter::Kind::kIoStream, &second));
}

// All at random: limits that change, waits that are withdrawn, flows that come
// and go. Nothing is lost, admitted twice or before its time.
TEST_F(UsageLimiterTest, Model) {
  std::mt19937 random(3);
  std::map<int, Wait> waiting;
  std::map<int, int> admitted;
  uint64_t begun = 0;
  uint64_t most = 0;  // That may have begun since the last change.
  int64_t changed_ns = now_ns_;
  uint64_t rate = 0;
  const auto change = [&] {
    rate = 1 + random() % 2000;
    volume_->SetLimits({.iops_total = rate, .iops_total_max = rate}, &timer_);
    changed_ns = now_ns_;
    begun = 0;
    most = rate;
  };
  change();
  for (int i = 0; i < 20'000; ++i) {
    switch (random() % 8) {
      case 0:
        Pass(static_cast<int64_t>(random() % (3 * kMs)));
        break;
      case 1:
        if (!waiting.empty()) {
          const auto it = waiting.begin();
          const auto flow = static_cast<uint64_t>(it->first % 7);
          EXPECT_TRUE(volume_only_.Withdraw(flow, it->second.get()));
          waiting.erase(it);
        }
        break;
      case 2:
        if (random() % 50 == 0) change();
        break;
      default: {
        Wait wait = volume_only_.Take(static_cast<uint64_t>(i % 7), {}, [&, i] {
          EXPECT_EQ(++admitted[i], 1);
          EXPECT_EQ(waiting.erase(i), 1u);
          ++begun;
        });
        if (wait == nullptr) {
          ++begun;
        } else {
          waiting.emplace(i, std::move(wait));
        }
      }
    }
    const auto passed = static_cast<uint64_t>(now_ns_ - changed_ns);
    ASSERT_LE(begun, most + rate * passed / kSecond + 1);
    ASSERT_EQ(volume_->GetStats().waiting, waiting.size());
  }
  volume_->SetLimits({}, &timer_);
  (void)timer_.RunDue();
  EXPECT_THAT(waiting, IsEmpty());
}

TEST(UsageTimer, TellsByItself) {
  UsageTimer timer;
  const auto limiter = std::make_shared<UsageLimiter>();
  limiter->SetLimits({.iops_total = 100}, &timer);
  const UsageLimiters limiters(nullptr, limiter);
  absl::Notification admitted;
  bool waits = false;
  while (!waits) {
    waits = limiters.Take(1, {}, [&] {
      if (!admitted.HasBeenNotified()) admitted.Notify();
    }) != nullptr;
  }
  admitted.WaitForNotification();
}

}  // namespace
}  // namespace ramvol
