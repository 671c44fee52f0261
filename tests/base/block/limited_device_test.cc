#include "base/block/limited_device.h"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/block/block_device.h"
#include "base/usage_limiter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::block {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kSecond = 1'000'000'000;

// Writes down what it is asked for.
class Recorder final : public BlockDevice {
 public:
  explicit Recorder(std::vector<std::string>* calls) : calls_(*calls) {}

  uint64_t size_bytes() const override { return 1 << 20; }
  bool read_only() const override { return false; }
  bool synchronous() const override { return true; }
  void Read(uint64_t, absl::Span<char>, Completion* done) override {
    Note("read", done);
  }
  void Write(uint64_t, absl::Span<const char>, Completion* done) override {
    Note("write", done);
  }
  void Trim(uint64_t, uint64_t, Completion* done) override {
    Note("trim", done);
  }
  void WriteZeroes(uint64_t, uint64_t, bool, Completion* done) override {
    Note("zeroes", done);
  }
  void Flush(Completion* done) override { Note("flush", done); }
  void GetExtents(uint64_t, uint64_t, size_t, std::vector<Extent>*,
                  Completion* done) override {
    Note("extents", done);
  }

 private:
  void Note(const char* call, Completion* done) {
    calls_.emplace_back(call);
    done->Done(absl::OkStatus());
  }
  std::vector<std::string>& calls_;
};

class Result final : public Completion {
 public:
  void Done(absl::Status status) override {
    ++times;
    code = status.code();
  }
  int times = 0;
  absl::StatusCode code = absl::StatusCode::kUnknown;
};

class LimitedDeviceTest : public testing::Test {
 protected:
  void Pass(int64_t ns) {
    now_ns_ += ns;
    (void)timer_.RunDue();
  }
  // As the runner's threads do.
  void RunLater() {
    for (const auto& call : std::exchange(later_, {})) call();
  }

  void SetUp() override { device_.MayAnswerLater(); }

  int64_t now_ns_ = kSecond;
  UsageTimer timer_{[this] { return now_ns_; }, /*has_thread=*/false};
  std::shared_ptr<UsageLimiter> limiter_ = std::make_shared<UsageLimiter>();
  std::vector<std::string> calls_;
  std::vector<std::function<void()>> later_;
  LimitedDevice device_{std::make_unique<Recorder>(&calls_),
                        UsageLimiters(nullptr, limiter_),
                        {},
                        [this](bool, std::function<void()> call) {
                          later_.push_back(std::move(call));
                        }};
  std::array<char, 16> bytes_ = {};
};

TEST_F(LimitedDeviceTest, PassesAllOnWithoutLimits) {
  Result result;
  device_.Read(0, absl::MakeSpan(bytes_), &result);
  device_.Write(0, absl::MakeConstSpan(bytes_), &result);
  device_.WriteZeroes(0, 1, false, &result);
  EXPECT_EQ(result.times, 3);
  EXPECT_THAT(calls_, ElementsAre("read", "write", "zeroes"));
  EXPECT_FALSE(device_.limited());
}

TEST_F(LimitedDeviceTest, CallsWaitForTheirTurn) {
  limiter_->SetLimits({.iops_total = 1}, &timer_);
  EXPECT_TRUE(device_.limited());
  Result first;
  Result second;
  Result third;
  device_.Read(0, absl::MakeSpan(bytes_), &first);
  device_.Write(0, absl::MakeConstSpan(bytes_), &second);
  device_.WriteZeroes(0, 1, false, &third);
  EXPECT_THAT(calls_, ElementsAre("read"));
  Pass(kSecond);
  EXPECT_EQ(second.times, 0);
  RunLater();
  EXPECT_EQ(second.times, 1);
  Pass(kSecond);
  RunLater();
  EXPECT_THAT(calls_, ElementsAre("read", "write", "zeroes"));
  EXPECT_EQ(first.times + second.times + third.times, 3);
}

TEST_F(LimitedDeviceTest, SomeNeverWait) {
  limiter_->SetLimits({.iops_total = 1}, &timer_);
  Result result;
  for (int i = 0; i < 3; ++i) device_.Read(0, absl::MakeSpan(bytes_), &result);
  calls_.clear();
  std::vector<Extent> extents;
  device_.Trim(0, 1, &result);
  device_.Flush(&result);
  device_.GetExtents(0, 1, 1, &extents, &result);
  EXPECT_THAT(calls_, ElementsAre("trim", "flush", "extents"));
  device_.Abandon();
}

TEST_F(LimitedDeviceTest, WhatWaitsIsAbandoned) {
  limiter_->SetLimits({.iops_total = 1}, &timer_);
  Result first;
  Result second;
  Result third;
  device_.Read(0, absl::MakeSpan(bytes_), &first);
  device_.Read(0, absl::MakeSpan(bytes_), &second);
  device_.Read(0, absl::MakeSpan(bytes_), &third);
  Pass(kSecond);  // It is the second one's turn.
  device_.Abandon();
  EXPECT_EQ(third.times, 1);
  EXPECT_EQ(third.code, absl::StatusCode::kCancelled);
  EXPECT_EQ(second.times, 0);
  RunLater();
  EXPECT_EQ(second.times, 1);
  EXPECT_EQ(second.code, absl::StatusCode::kOk);
  Pass(10 * kSecond);
  EXPECT_THAT(later_, IsEmpty());
  // Nor does anything else begin.
  Result late;
  device_.Read(0, absl::MakeSpan(bytes_), &late);
  EXPECT_EQ(late.code, absl::StatusCode::kCancelled);
}

// Of callers that never said that they may be answered later.
TEST(BlockingLimitedDeviceTest, TheCallersThreadWaits) {
  UsageTimer timer;
  const auto limiter = std::make_shared<UsageLimiter>();
  limiter->SetLimits({.iops_total = 100}, &timer);
  std::vector<std::string> calls;
  LimitedDevice device(std::make_unique<Recorder>(&calls),
                       UsageLimiters(nullptr, limiter), {},
                       [](bool, const std::function<void()>&) { FAIL(); });
  // A slow machine may stay below the limit for long.
  size_t count = 0;
  while (count < 20 ||
         (limiter->GetStats().throttled_operations == 0 && count < 10000)) {
    ++count;
    Result result;
    device.WriteZeroes(0, 1, false, &result);
    EXPECT_EQ(result.times, 1);
    EXPECT_EQ(result.code, absl::StatusCode::kOk);
  }
  EXPECT_EQ(calls.size(), count);
  EXPECT_GE(limiter->GetStats().throttled_operations, 1u);
}

// `let_go(device, timer)` while a thread waits; with what code it goes on.
absl::StatusCode CodeAfter(
    const std::function<void(LimitedDevice&, UsageTimer&)>& let_go) {
  UsageTimer timer;
  const auto limiter = std::make_shared<UsageLimiter>();
  limiter->SetLimits({.bps_total = 1}, &timer);
  std::vector<std::string> calls;
  LimitedDevice device(std::make_unique<Recorder>(&calls),
                       UsageLimiters(nullptr, limiter), {},
                       [](bool, const std::function<void()>&) { FAIL(); });
  std::array<char, 1000> bytes = {};
  Result first;
  device.Read(0, absl::MakeSpan(bytes), &first);
  Result second;
  std::thread waits([&] { device.Read(0, absl::MakeSpan(bytes), &second); });
  while (limiter->GetStats().waiting == 0) std::this_thread::yield();
  let_go(device, timer);
  waits.join();
  return second.code;
}

TEST(BlockingLimitedDeviceTest, AThreadThatWaitsIsLetGo) {
  EXPECT_EQ(
      CodeAfter([](LimitedDevice& device, UsageTimer&) { device.Abandon(); }),
      absl::StatusCode::kCancelled);
  EXPECT_EQ(
      CodeAfter([](LimitedDevice&, UsageTimer& timer) { timer.Release(); }),
      absl::StatusCode::kOk);
}

TEST_F(LimitedDeviceTest, BytesCount) {
  limiter_->SetLimits({.bps_total = 16, .bps_total_max = 16}, &timer_);
  Result result;
  device_.Write(0, absl::MakeConstSpan(bytes_), &result);
  device_.Write(0, absl::MakeConstSpan(bytes_), &result);
  EXPECT_EQ(result.times, 1);
  Pass(kSecond);
  RunLater();
  EXPECT_EQ(result.times, 2);
}

}  // namespace
}  // namespace ramvol::block
