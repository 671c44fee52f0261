#include "server/service/io_stream_usage.h"

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "base/usage_limiter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/block_service.pb.h"
#include "server/service/executor.h"
#include "server/service/io_session.h"
#include "tests/support/status_matchers.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kSecond = 1'000'000'000;

class IoStreamUsageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    v1::IoRequest first;
    first.set_volume("v");
    ASSERT_THAT(session_.Receive(&first), IsOk());
    session_.Open(v1::IoOpened());
    v1::IoResponse opened;
    ASSERT_TRUE(session_.NextMessage(&opened));
    usage_.Begin(UsageLimiters(nullptr, limiter_),
                 [this](Lane lane) { usage_.Admitted(lane); });
  }

  void ReceiveReads(int count) {
    v1::IoRequest request;
    for (int i = 0; i < count; ++i) {
      v1::IoOperation& operation = *request.add_operations();
      operation.set_id(++last_id_);
      operation.mutable_read()->set_length(1);
    }
    ASSERT_THAT(session_.Receive(&request), IsOk());
    usage_.Received();
  }
  void ReceiveTrim() {
    v1::IoRequest request;
    request.add_operations()->set_id(++last_id_);
    request.mutable_operations(0)->mutable_trim()->set_length(1);
    ASSERT_THAT(session_.Receive(&request), IsOk());
  }
  // As a stream does: the ids of what could begin.
  std::vector<uint64_t> Run() {
    std::vector<uint64_t> ids;
    while (session_.UnlimitedWaiting(Lane::kPrompt) > 0 ||
           usage_.MayBegin(Lane::kPrompt)) {
      const auto operation = session_.NextOperation(Lane::kPrompt);
      if (operation == nullptr) break;
      if (operation->has_read()) usage_.Began(Lane::kPrompt);
      ids.push_back(operation->id());
    }
    return ids;
  }
  void Pass(int64_t ns) {
    now_ns_ += ns;
    (void)timer_.RunDue();
  }

  int64_t now_ns_ = kSecond;
  UsageTimer timer_{[this] { return now_ns_; }, /*has_thread=*/false};
  std::shared_ptr<UsageLimiter> limiter_ = std::make_shared<UsageLimiter>();
  IoSession session_;
  IoStreamUsage usage_{&session_};
  uint64_t last_id_ = 0;
};

TEST_F(IoStreamUsageTest, HoldsNothingUpWithoutLimits) {
  ReceiveReads(3);
  EXPECT_THAT(Run(), ElementsAre(1, 2, 3));
  EXPECT_FALSE(usage_.IsWaiting(Lane::kPrompt));
}

TEST_F(IoStreamUsageTest, OperationsBeginInTheirOrder) {
  limiter_->SetLimits({.iops_total = 2, .iops_total_max = 2}, &timer_);
  ReceiveReads(4);
  EXPECT_THAT(Run(), ElementsAre(1, 2));
  EXPECT_TRUE(usage_.IsWaiting(Lane::kPrompt));
  EXPECT_EQ(limiter_->GetStats().waiting, 2u);
  // What comes later waits at the limiter, too.
  ReceiveReads(1);
  EXPECT_EQ(limiter_->GetStats().waiting, 3u);
  Pass(kSecond);
  EXPECT_THAT(Run(), ElementsAre(3, 4));
  Pass(kSecond);
  EXPECT_THAT(Run(), ElementsAre(5));
  EXPECT_FALSE(usage_.IsWaiting(Lane::kPrompt));
}

TEST_F(IoStreamUsageTest, WhatIsNotLimitedOvertakes) {
  limiter_->SetLimits({.iops_total = 1}, &timer_);
  ReceiveReads(3);
  ReceiveTrim();
  EXPECT_THAT(Run(), ElementsAre(4, 1));
  EXPECT_EQ(session_.WaitingCostBytes(Lane::kPrompt, /*limited=*/false), 0u);
  ReceiveTrim();
  EXPECT_THAT(Run(), ElementsAre(5));
  EXPECT_EQ(session_.LimitedWaiting(Lane::kPrompt), 2u);
}

TEST_F(IoStreamUsageTest, LimitsThatAreLiftedLetAllGoOn) {
  limiter_->SetLimits({.iops_total = 1}, &timer_);
  ReceiveReads(100);
  EXPECT_THAT(Run(), ElementsAre(1));
  limiter_->SetLimits({}, &timer_);
  ReceiveReads(20);
  Pass(0);
  EXPECT_EQ(Run().size(), 119u);
  EXPECT_EQ(limiter_->GetStats().waiting, 0u);
}

TEST_F(IoStreamUsageTest, NothingWaitsOnceItIsAbandoned) {
  limiter_->SetLimits({.iops_total = 1}, &timer_);
  ReceiveReads(10);
  EXPECT_THAT(Run(), ElementsAre(1));
  session_.Abandon(absl::CancelledError("gone"));
  usage_.Abandon();
  EXPECT_EQ(limiter_->GetStats().waiting, 0u);
  Pass(10 * kSecond);
  EXPECT_THAT(Run(), IsEmpty());
}

}  // namespace
}  // namespace ramvol::service
