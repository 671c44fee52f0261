#include "client/stream_set.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/reason.h"
#include "client/call.h"
#include "client/call_table.h"
#include "client/channel_stream.h"
#include "client/client_counters.h"
#include "client/io_transport.h"
#include "client/options.h"
#include "client/outbox.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_transport.h"
#include "tests/client/make_call.h"
#include "tests/client/manual_timer.h"

namespace ramvol {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using State = ChannelStream::State;

class StreamSetTest : public ::testing::Test {
 protected:
  StreamSetTest() {
    options_.server = "unix:/fake";
    options_.reconnect_timeout = absl::Seconds(30);
  }

  static VolumeOpened Opened(const std::string& uid = "uid-1") {
    VolumeOpened opened;
    opened.window_operations = 100;
    opened.window_bytes = int64_t{1} << 20;
    opened.uid = uid;
    return opened;
  }

  // The present stream of a channel, or null.
  ChannelStream* Find(size_t channel) {
    for (const auto& stream : transport_->streams) {
      if (stream->index != static_cast<int>(channel)) continue;
      ChannelStream* found = set_.Find(channel, stream->opening.stream_id);
      if (found != nullptr) return found;
    }
    return nullptr;
  }
  ChannelStream& Of(size_t channel) { return *Find(channel); }
  FakeStream& Latest() { return *transport_->streams.back(); }

  void ConnectAndOpen() {
    set_.Connect(outbox_);
    for (size_t i = 0; i < 2; ++i) Open(i);
    outbox_ = Outbox();
  }
  void Open(size_t channel) {
    ASSERT_TRUE(set_.OnOpened(Of(channel), Opened(), outbox_));
    Of(channel).set_writing(false);
  }
  void Close(size_t channel, const absl::Status& status) {
    set_.OnClosed(Of(channel), status, outbox_);
  }
  void Lose(size_t channel) { Close(channel, absl::UnavailableError("reset")); }
  // Moves time to what the set waits for, at most `steps` times.
  void PassTime(int steps) {
    for (int i = 0; i < steps; ++i) {
      timer_->Advance(set_.next_time() - timer_->Now());
      set_.OnTime(outbox_);
    }
  }
  std::shared_ptr<Call> Send(OperationKind kind) {
    auto call = MakeCall(kind);
    calls_.Add(call);
    set_.Send(outbox_);
    for (size_t i = 0; i < 2; ++i) Of(i).set_writing(false);
    EXPECT_TRUE(calls_.nothing_queued());
    return call;
  }

  ClientOptions options_;
  std::shared_ptr<ManualTimer> timer_ = std::make_shared<ManualTimer>();
  std::shared_ptr<FakeTransport> transport_ = std::make_shared<FakeTransport>();
  std::shared_ptr<ClientCounters> counters_ =
      std::make_shared<ClientCounters>();
  CallTable calls_;
  StreamSet set_{"scratch",     options_,
                 OpenOptions(), transport_,
                 timer_,        counters_,
                 calls_,        [](size_t, uint64_t) { return nullptr; }};
  Outbox outbox_;
};

TEST_F(StreamSetTest, ConnectStartsAStreamForEachChannelOnce) {
  set_.Connect(outbox_);
  EXPECT_THAT(outbox_.starts, SizeIs(2));
  EXPECT_FALSE(transport_->streams[0]->started) << "the owner starts it";
  EXPECT_NE(Of(0).id(), Of(1).id());
  set_.Connect(outbox_);
  Open(0);
  set_.Connect(outbox_);
  Lose(0);
  set_.Connect(outbox_);
  EXPECT_THAT(transport_->streams, SizeIs(2));
}

TEST_F(StreamSetTest, ReportsOfEarlierStreamsCountNoMore) {
  ConnectAndOpen();
  const uint64_t first = Of(0).id();
  Lose(0);
  EXPECT_EQ(set_.Find(0, first), nullptr);
  PassTime(1);
  EXPECT_EQ(set_.Find(0, first), nullptr);
  EXPECT_EQ(Of(0).state(), State::kStarting);
}

TEST_F(StreamSetTest, ReadsGoOnAtOnceAndChangesWaitToBeReplaced) {
  ConnectAndOpen();
  Send(OperationKind::kTrim);
  auto read = MakeCall(OperationKind::kRead);
  calls_.Add(read);
  Of(1).set_writing(true);
  set_.Send(outbox_);
  const uint64_t lost = Of(0).id();
  Of(1).set_writing(false);
  Lose(0);
  ASSERT_EQ(calls_.NextPartBytes(), 0);
  EXPECT_EQ(calls_.TakePart().call, read);
  EXPECT_TRUE(calls_.nothing_queued()) << "the trim was sent again at once";
  PassTime(1);
  EXPECT_THAT(Latest().opening.replaces, ElementsAre(lost));
  EXPECT_TRUE(calls_.nothing_queued());
  Open(0);
  EXPECT_FALSE(calls_.nothing_queued());
  EXPECT_EQ(counters_->reconnects, 1u);
}

TEST_F(StreamSetTest, AsksForTheSameVolumeAgain) {
  ConnectAndOpen();
  Lose(0);
  PassTime(1);
  EXPECT_EQ(Latest().opening.uid, "uid-1") << "it may have been renamed";
}

TEST_F(StreamSetTest, GivesUpWhenNoStreamIsOpenForTooLong) {
  ConnectAndOpen();
  auto call = Send(OperationKind::kRead);
  Lose(0);
  timer_->Advance(absl::Seconds(20));
  Lose(1);
  outbox_ = Outbox();
  // Attempts go on, and none of them is answered.
  const absl::Time lost = timer_->Now();
  set_.OnTime(outbox_);
  while (!call->ended && timer_->Now() < lost + absl::Seconds(100)) PassTime(1);
  EXPECT_TRUE(absl::IsUnavailable(call->status)) << call->status;
  EXPECT_THAT(call->status.message(), HasSubstr("unix:/fake"));
  EXPECT_GE(timer_->Now(), lost + absl::Seconds(30));
  EXPECT_LE(timer_->Now(), lost + absl::Seconds(35)) << "and its grace";
  EXPECT_FALSE(set_.any_stream());
  EXPECT_EQ(set_.next_time(), absl::InfiniteFuture());
  EXPECT_TRUE(set_.ended().ok());
  set_.Connect(outbox_);
  EXPECT_TRUE(set_.any_stream());
}

TEST_F(StreamSetTest, GivesUpChangesOfALostStreamWhileOthersAreOpen) {
  ConnectAndOpen();
  auto trim = Send(OperationKind::kTrim);
  Lose(0);
  const absl::Time lost = timer_->Now();
  while (!trim->ended && timer_->Now() < lost + absl::Seconds(100)) {
    PassTime(1);
    if (Find(0) != nullptr) Lose(0);
  }
  EXPECT_TRUE(absl::IsUnavailable(trim->status)) << trim->status;
  EXPECT_LE(timer_->Now(), lost + absl::Seconds(35));
  EXPECT_EQ(Of(1).state(), State::kOpen);
}

TEST_F(StreamSetTest, AnotherVolumeEndsEverything) {
  ConnectAndOpen();
  auto call = Send(OperationKind::kTrim);
  Lose(0);
  PassTime(1);
  outbox_ = Outbox();
  EXPECT_FALSE(set_.OnOpened(Of(0), Opened("uid-2"), outbox_));
  EXPECT_TRUE(absl::IsAborted(set_.ended()));
  EXPECT_EQ(GetReason(set_.ended()), reason::kVolumeReplaced);
  EXPECT_EQ(call->status, set_.ended());
  EXPECT_THAT(outbox_.cancels, SizeIs(2));
  EXPECT_FALSE(set_.any_stream());
  EXPECT_EQ(counters_->lost_streams, 0u);
}

TEST_F(StreamSetTest, ADeletedVolumeEndsEverything) {
  ConnectAndOpen();
  Lose(0);
  PassTime(1);
  Close(0, absl::NotFoundError("no volume"));
  EXPECT_TRUE(absl::IsNotFound(set_.ended()));
  EXPECT_EQ(GetReason(set_.ended()), reason::kVolumeDeleted)
      << "the other stream has it open still";
}

TEST_F(StreamSetTest, ARefusalFailsWhatItsStreamHadSent) {
  ConnectAndOpen();
  auto first = Send(OperationKind::kFlush);
  auto second = Send(OperationKind::kFlush);
  Close(0, absl::PermissionDeniedError("no"));
  EXPECT_TRUE(absl::IsPermissionDenied(first->status));
  EXPECT_FALSE(second->ended);
  Close(1, absl::PermissionDeniedError("no"));
  EXPECT_TRUE(absl::IsPermissionDenied(second->status));
  EXPECT_EQ(set_.next_time(), absl::InfiniteFuture()) << "it tries on";
  EXPECT_TRUE(set_.ended().ok());
}

TEST_F(StreamSetTest, OpenedIsTakenOnce) {
  ConnectAndOpen();
  EXPECT_FALSE(set_.OnOpened(Of(0), Opened(), outbox_));
}

TEST_F(StreamSetTest, ShutDownHalfClosesAndCancelsWhatLingers) {
  ConnectAndOpen();
  Of(1).set_writing(true);
  set_.ShutDown(outbox_);
  EXPECT_THAT(outbox_.half_closes, ElementsAre(Of(0).stream()));
  Of(1).set_writing(false);
  set_.ShutDown(outbox_);
  EXPECT_THAT(outbox_.half_closes, SizeIs(2));
  Close(0, absl::OkStatus());
  EXPECT_TRUE(set_.any_stream());
  EXPECT_THAT(outbox_.cancels, IsEmpty());
  EXPECT_EQ(set_.next_time(), timer_->Now() + absl::Seconds(1));
  PassTime(1);
  EXPECT_THAT(outbox_.cancels, SizeIs(1));
  EXPECT_FALSE(set_.any_stream());
  EXPECT_EQ(set_.next_time(), absl::InfiniteFuture());
}

}  // namespace
}  // namespace ramvol
