#include "nbd_bridge/reply_sender.h"

#include <sys/socket.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/client_memory.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "gtest/gtest.h"
#include "nbd_bridge/connection_buffers.h"
#include "nbd_bridge/request.h"
#include "nbd_bridge/socket.h"

namespace ramvol::testing {
namespace {

using nbd::ReplySender;
using nbd::Request;
using nbd::Socket;

// More than any socket here holds.
constexpr size_t kLargeBytes = size_t{8} << 20;
constexpr int64_t kHourNs = int64_t{3600} * 1'000'000'000;

ClientMemory::Options NoSweeps(size_t limit_bytes) {
  ClientMemory::Options options;
  options.limit_bytes = limit_bytes;
  options.sweep_interval = absl::InfiniteDuration();
  return options;
}

// A sender, its host and its client's end. There is no memory to spare, so the
// socket stays narrow.
class ReplySenderTest : public ::testing::Test,
                        public ClientMemory::Client,
                        public ReplySender::Host {
 protected:
  explicit ReplySenderTest(size_t memory_bytes = size_t{256} << 10)
      : memory_(NoSweeps(memory_bytes)) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    server_ = std::make_unique<Socket>(ends[0]);
    client_ = std::make_unique<Socket>(ends[1]);
    server_->Narrow();
    holder_.Open();
    buffers_ = std::make_unique<nbd::ConnectionBuffers>(*server_, holder_);
    sender_ =
        std::make_unique<ReplySender>(*server_, holder_, *buffers_, &mu_, this);
  }

  std::function<void()> SendAway() override {
    sent_away_ = true;
    server_->Shutdown();
    return nullptr;
  }
  bool SendElsewhere() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    ++elsewhere_;
    return has_threads_;
  }
  void WillWait() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    ++waits_;
    waiting_.SignalAll();
  }
  void Sent(size_t replies, size_t bytes) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    sent_replies_ += replies;
    sent_bytes_ += bytes;
  }
  void Lost() override ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    lost_ = true;
  }

  // Charged as many bytes as it has.
  void Add(std::string text, int64_t now_ns = 0)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    auto reply = std::make_unique<Request>(/*session=*/nullptr);
    reply->text = std::move(text);
    reply->parts.push_back({reply->text.data(), reply->text.size()});
    reply->charged_bytes = reply->text.size();
    sender_->Add(std::move(reply), now_ns);
  }
  // Sends it in a thread, which now waits for the client.
  std::thread SendAndWait(std::string text) {
    MutexLock lock(&mu_);
    Add(std::move(text));
    std::thread thread([this] {
      MutexLock thread_lock(&mu_);
      sender_->Send(/*may_wait=*/true);
    });
    while (waits_ == 0) waiting_.Wait(&mu_);
    return thread;
  }
  std::string Receive(size_t bytes) {
    std::string text(bytes, '\0');
    EXPECT_TRUE(client_->ReceiveAll(absl::MakeSpan(text.data(), text.size()),
                                    absl::Now() + absl::Seconds(60)));
    return text;
  }

  ClientMemory memory_;
  ClientMemory::Holder holder_{&memory_, this};
  std::unique_ptr<Socket> server_;
  std::unique_ptr<Socket> client_;
  std::unique_ptr<nbd::ConnectionBuffers> buffers_;

  Mutex mu_;
  CondVar waiting_;
  std::unique_ptr<ReplySender> sender_ ABSL_PT_GUARDED_BY(mu_);
  bool has_threads_ ABSL_GUARDED_BY(mu_) = true;
  int elsewhere_ ABSL_GUARDED_BY(mu_) = 0;
  int waits_ ABSL_GUARDED_BY(mu_) = 0;
  size_t sent_replies_ ABSL_GUARDED_BY(mu_) = 0;
  size_t sent_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool lost_ ABSL_GUARDED_BY(mu_) = false;
  bool sent_away_ = false;
};

class WideReplySenderTest : public ReplySenderTest {
 protected:
  WideReplySenderTest() : ReplySenderTest(size_t{64} << 20) {}
};

TEST_F(ReplySenderTest, SendsWhatIsReadyInItsOrder) {
  {
    MutexLock lock(&mu_);
    EXPECT_FALSE(sender_->IsDue());
    Add("one");
    Add("two");
    EXPECT_TRUE(sender_->IsDue());
    EXPECT_EQ(sent_replies_, 0);
    sender_->Send(/*may_wait=*/false);
    EXPECT_FALSE(sender_->IsDue());
    EXPECT_FALSE(sender_->sending());
    EXPECT_EQ(sent_replies_, 2);
    EXPECT_EQ(sent_bytes_, 6);
  }
  EXPECT_EQ(Receive(6), "onetwo");
}

TEST_F(ReplySenderTest, SendingNothingIsNothing) {
  MutexLock lock(&mu_);
  sender_->Send(/*may_wait=*/true);
  EXPECT_FALSE(sender_->sending());
  EXPECT_EQ(sent_replies_, 0);
}

TEST_F(ReplySenderTest, RepliesAreLateByTheFirstOfThem) {
  MutexLock lock(&mu_);
  EXPECT_FALSE(sender_->IsLate());
  Add("in an hour", SteadyNowNs() + kHourNs);
  EXPECT_FALSE(sender_->IsLate());
  sender_->Send(/*may_wait=*/false);
  Add("an hour ago", SteadyNowNs() - kHourNs);
  Add("in an hour", SteadyNowNs() + kHourNs);
  EXPECT_TRUE(sender_->IsLate());
  sender_->Send(/*may_wait=*/false);
  EXPECT_FALSE(sender_->IsLate());
}

TEST_F(ReplySenderTest, SixteenRepliesWaitForNoMore) {
  MutexLock lock(&mu_);
  for (int i = 0; i < 15; ++i) Add("x");
  EXPECT_FALSE(sender_->IsFull());
  Add("x");
  EXPECT_TRUE(sender_->IsFull());
  sender_->Send(/*may_wait=*/false);
  EXPECT_FALSE(sender_->IsFull());
}

TEST_F(ReplySenderTest, WhoHasTheTurnSendsForOthers) {
  std::thread first = SendAndWait(std::string(kLargeBytes, 'a'));
  {
    MutexLock lock(&mu_);
    EXPECT_TRUE(sender_->sending());
    Add("b");
    EXPECT_FALSE(sender_->IsDue());
    sender_->Send(/*may_wait=*/true);  // Returns at once.
    EXPECT_EQ(sent_replies_, 0);
  }
  EXPECT_EQ(Receive(kLargeBytes + 1), std::string(kLargeBytes, 'a') + "b");
  first.join();
  MutexLock lock(&mu_);
  EXPECT_FALSE(sender_->sending());
  EXPECT_EQ(sent_replies_, 2);
  EXPECT_EQ(sent_bytes_, kLargeBytes + 1);
  EXPECT_EQ(elsewhere_, 0);
}

TEST_F(ReplySenderTest, WhoMayNotWaitHandsItsTurnOver) {
  std::thread other;
  {
    MutexLock lock(&mu_);
    Add(std::string(kLargeBytes, 'a'));
    sender_->Send(/*may_wait=*/false);
    EXPECT_EQ(elsewhere_, 1);
    EXPECT_TRUE(sender_->sending());
    EXPECT_EQ(waits_, 0);
    Add("b");
    EXPECT_FALSE(sender_->IsDue());
    other = std::thread([this] {
      MutexLock other_lock(&mu_);
      sender_->SendRest();
    });
  }
  EXPECT_EQ(Receive(kLargeBytes + 1), std::string(kLargeBytes, 'a') + "b");
  other.join();
  MutexLock lock(&mu_);
  EXPECT_FALSE(sender_->sending());
  EXPECT_EQ(sent_replies_, 2);
}

TEST_F(ReplySenderTest, WithoutAnotherThreadItWaitsItself) {
  std::thread sender([this] {
    MutexLock lock(&mu_);
    has_threads_ = false;
    Add(std::string(kLargeBytes, 'a'));
    sender_->Send(/*may_wait=*/false);
    EXPECT_FALSE(sender_->sending());
    EXPECT_EQ(elsewhere_, 1);
    EXPECT_EQ(waits_, 1);
    EXPECT_EQ(sent_replies_, 1);
  });
  EXPECT_EQ(Receive(kLargeBytes), std::string(kLargeBytes, 'a'));
  sender.join();
}

// A little more than a narrow socket holds.
TEST_F(WideReplySenderTest, AFullSocketIsMadeWiderFirst) {
  constexpr size_t kBytes = size_t{64} << 10;
  {
    MutexLock lock(&mu_);
    Add(std::string(kBytes, 'a'));
    sender_->Send(/*may_wait=*/false);
    EXPECT_TRUE(buffers_->wide());
    EXPECT_EQ(elsewhere_, 0);
    EXPECT_EQ(waits_, 0);
    EXPECT_EQ(sent_replies_, 1);
  }
  EXPECT_EQ(Receive(kBytes), std::string(kBytes, 'a'));
}

TEST_F(ReplySenderTest, ALostClientsRepliesAreDropped) {
  client_.reset();
  MutexLock lock(&mu_);
  for (int round = 1; round <= 2; ++round) {
    Add("a");
    Add("b");
    sender_->Send(/*may_wait=*/true);
    EXPECT_TRUE(lost_);
    EXPECT_FALSE(sender_->sending());
    EXPECT_EQ(sent_replies_, 2 * round);
  }
  EXPECT_TRUE(server_->IsBroken());
}

TEST_F(ReplySenderTest, AClientThatTakesNothingMayBeSentAway) {
  ClientMemory::Holder other(&memory_, this);
  {
    MutexLock lock(&mu_);
    holder_.SetHeld(kLargeBytes);
    other.Ask(kLargeBytes, [] {});
  }
  std::thread sender = SendAndWait(std::string(kLargeBytes, 'a'));
  memory_.Sweep(absl::UnixEpoch());
  EXPECT_FALSE(sent_away_);
  memory_.Sweep(absl::UnixEpoch() + absl::Hours(1));
  EXPECT_TRUE(sent_away_);
  server_->Shutdown();  // Also where that failed.
  sender.join();
  MutexLock lock(&mu_);
  EXPECT_TRUE(lost_);
  EXPECT_EQ(sent_replies_, 1);
}

}  // namespace
}  // namespace ramvol::testing
