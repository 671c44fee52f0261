#include "server/service/io_stream_memory.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/client_memory.h"
#include "base/mutex.h"
#include "gtest/gtest.h"
#include "ramvol/v1/block_service.pb.h"
#include "server/service/executor.h"
#include "server/service/io_session.h"
#include "tests/support/status_matchers.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::IsOk;

constexpr size_t kMib = size_t{1} << 20;
// Of one that is not large.
constexpr size_t kMessageBytes = 60 << 10;

class NoClient final : public ClientMemory::Client {
 public:
  std::function<void()> SendAway() override { return nullptr; }
};

class IoStreamMemoryTest : public ::testing::Test {
 protected:
  IoStreamMemoryTest() {
    EXPECT_TRUE(memory_.Open("", [this] { Granted(); }));
    Receive([](v1::IoRequest* request) { request->set_volume("disk"); });
    session_.Open(v1::IoOpened());
    v1::IoResponse opened;
    EXPECT_TRUE(session_.NextMessage(&opened));
  }

  static ClientMemory::Options Options() {
    ClientMemory::Options options;
    options.limit_bytes = 16 * kMib;
    options.sweep_interval = absl::InfiniteDuration();
    return options;
  }

  void Receive(const std::function<void(v1::IoRequest*)>& fill) {
    v1::IoRequest request;
    fill(&request);
    EXPECT_THAT(session_.Receive(&request), IsOk());
    memory_.Settle();
  }
  void ReceiveRead(uint64_t id, size_t bytes) {
    Receive([&](v1::IoRequest* request) {
      v1::IoOperation* const read = request->add_operations();
      read->set_id(id);
      read->mutable_read()->set_length(static_cast<int64_t>(bytes));
    });
  }
  void Begin() {
    running_ = session_.NextOperation(Lane::kPrompt);
    EXPECT_NE(running_, nullptr);
    memory_.Settle();
  }
  // So that the stream gets no more.
  void TakeAll() {
    ASSERT_TRUE(others_.Reserve(kAll));
    others_.SetHeld(kAll);
  }
  void GiveAll() { others_.SetHeld(0); }
  // Something that waited may go on.
  void AwaitGrant() {
    MutexLock lock(&mu_);
    while (grants_ == 0) {
      ASSERT_FALSE(changed_.WaitFor(&mu_, absl::Minutes(1)));
    }
    --grants_;
  }
  void Granted() {
    MutexLock lock(&mu_);
    ++grants_;
    changed_.Signal();
  }

  // But the reserve of small calls, the stream itself, and a little.
  static constexpr size_t kAll = 14 * kMib - (64 << 10);

  Mutex mu_;
  CondVar changed_;
  int grants_ ABSL_GUARDED_BY(mu_) = 0;
  ClientMemory client_memory_{Options()};
  NoClient client_;
  ClientMemory::Holder others_{&client_memory_, &client_};
  IoSession session_;
  IoStreamMemory memory_{&client_memory_, &client_, &session_};
  std::unique_ptr<v1::IoOperation> running_;
};

TEST_F(IoStreamMemoryTest, ChargesAMessageUntilTheSessionHoldsIt) {
  EXPECT_TRUE(memory_.Arrived(kMessageBytes));
  EXPECT_EQ(memory_.held_bytes(), kMessageBytes);
  EXPECT_FALSE(memory_.TakeNextRead());
  memory_.TakenIn(/*reads_on=*/true);
  memory_.Settle();
  EXPECT_EQ(memory_.held_bytes(), 0);
  EXPECT_TRUE(memory_.TakeNextRead());
  EXPECT_FALSE(memory_.TakeNextRead());
}

TEST_F(IoStreamMemoryTest, ChargesAReadAndItsAnswerUntilThatIsSent) {
  ReceiveRead(1, kMib);
  EXPECT_TRUE(memory_.MayBegin(Lane::kPrompt));
  Begin();
  EXPECT_GT(memory_.held_bytes(), kMib);
  auto result = std::make_unique<v1::IoResult>();
  result->set_id(1);
  result->mutable_data()->assign(kMib, 'x');
  session_.Complete(std::move(result));
  const size_t held = session_.held_bytes();
  v1::IoResponse response;
  ASSERT_TRUE(session_.NextMessage(&response));
  memory_.Sending(held - session_.held_bytes());
  memory_.Settle();
  EXPECT_GT(memory_.held_bytes(), kMib);
  memory_.Sent();
  memory_.Settle();
  EXPECT_EQ(memory_.held_bytes(), 0);
}

TEST_F(IoStreamMemoryTest, AMessageWaitsForMemory) {
  TakeAll();
  EXPECT_FALSE(memory_.Arrived(kMessageBytes));
  EXPECT_TRUE(memory_.IsWaiting(Lane::kPrompt));
  EXPECT_FALSE(memory_.IsWaiting(Lane::kMayWait));
  GiveAll();
  AwaitGrant();
  EXPECT_TRUE(memory_.TakeGrant());
  EXPECT_EQ(memory_.held_bytes(), kMessageBytes);
  EXPECT_FALSE(memory_.IsWaiting(Lane::kPrompt));
}

// There was room for it before it was received.
TEST_F(IoStreamMemoryTest, ALargeMessageNeverWaits) {
  TakeAll();
  ReceiveRead(1, 3 * kMib);
  EXPECT_FALSE(memory_.MayBegin(Lane::kPrompt));
  EXPECT_TRUE(memory_.Arrived(kMib));
  EXPECT_EQ(memory_.held_bytes(), session_.held_bytes() + 2 * kMib);
  memory_.TakenIn(/*reads_on=*/true);
  memory_.Settle();
  EXPECT_EQ(memory_.held_bytes(), session_.held_bytes());
  EXPECT_FALSE(memory_.TakeNextRead()) << "the read before it waits";
}

TEST_F(IoStreamMemoryTest, AReadGoesBeforeTheMessageThatCameAfterIt) {
  TakeAll();
  ReceiveRead(1, 3 * kMib);
  EXPECT_FALSE(memory_.MayBegin(Lane::kPrompt));
  EXPECT_FALSE(memory_.Arrived(kMessageBytes));
  GiveAll();
  AwaitGrant();
  EXPECT_FALSE(memory_.TakeGrant()) << "it is the read's";
  EXPECT_TRUE(memory_.MayBegin(Lane::kPrompt));
  Begin();
  AwaitGrant();
  EXPECT_TRUE(memory_.TakeGrant());
  EXPECT_GE(memory_.held_bytes(), 3 * kMib + kMessageBytes);
}

TEST_F(IoStreamMemoryTest, AMessageOutlivesTheReadBeforeIt) {
  TakeAll();
  ReceiveRead(1, 3 * kMib);
  EXPECT_FALSE(memory_.MayBegin(Lane::kPrompt));
  EXPECT_FALSE(memory_.Arrived(kMessageBytes));
  GiveAll();
  AwaitGrant();
  EXPECT_FALSE(memory_.TakeGrant()) << "it is the read's";
  // As when the executor is full.
  session_.FailWaiting(Lane::kPrompt, absl::UnavailableError("too much"));
  memory_.Settle();
  AwaitGrant();
  EXPECT_TRUE(memory_.TakeGrant());
}

TEST_F(IoStreamMemoryTest, WhatWaitsMayBeGivenUp) {
  TakeAll();
  ReceiveRead(1, 3 * kMib);
  EXPECT_FALSE(memory_.MayBegin(Lane::kPrompt));
  EXPECT_EQ(client_memory_.GetStats().waiting, 1);
  session_.Abandon(absl::CancelledError("gone"));
  memory_.Withdraw();
  memory_.Settle();
  EXPECT_EQ(client_memory_.GetStats().waiting, 0);
  EXPECT_EQ(memory_.held_bytes(), 0);
}

}  // namespace
}  // namespace ramvol::service
