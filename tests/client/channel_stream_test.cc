#include "client/channel_stream.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/random/random.h"
#include "absl/time/time.h"
#include "client/call.h"
#include "client/client_counters.h"
#include "client/io_transport.h"
#include "client/options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_transport.h"
#include "tests/client/make_call.h"

namespace ramvol {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::Ge;
using ::testing::IsEmpty;
using ::testing::Le;

using State = ChannelStream::State;

class ChannelStreamTest : public ::testing::Test {
 protected:
  void Start(uint64_t id = 1, std::vector<uint64_t> replaces = {}) {
    stream_.Start(std::make_shared<FakeStream>(0, StreamOpening(), nullptr), id,
                  std::move(replaces), At(10));
  }
  std::vector<uint64_t> Open(int32_t operations = 100,
                             int64_t bytes = 1000000) {
    VolumeOpened opened;
    opened.window_operations = operations;
    opened.window_bytes = bytes;
    return stream_.Open(opened);
  }
  std::shared_ptr<Call> Add(uint64_t id, OperationKind kind,
                            int64_t length = 0) {
    auto call = MakeCall(kind, static_cast<int64_t>(id), length);
    stream_.Add(id, {call, static_cast<int64_t>(id), length});
    return call;
  }

  ClientOptions options_;
  ClientCounters counters_;
  absl::BitGen random_;
  ChannelStream stream_{options_, counters_};
};

TEST_F(ChannelStreamTest, SendsOnlyWhenOpenAndNothingIsOnItsWay) {
  EXPECT_EQ(stream_.state(), State::kIdle);
  Start();
  EXPECT_EQ(stream_.state(), State::kStarting);
  EXPECT_EQ(stream_.started(), At(10));
  EXPECT_FALSE(stream_.CanSend());
  Open();
  EXPECT_FALSE(stream_.CanSend()) << "the first message is on its way";
  stream_.set_writing(false);
  EXPECT_TRUE(stream_.CanSend());
  stream_.set_writing(true);
  EXPECT_FALSE(stream_.CanSend());
}

TEST_F(ChannelStreamTest, OpeningTellsWhatWasReplaced) {
  Start(1, {7, 8});
  EXPECT_THAT(Open(), ElementsAre(7, 8));
}

TEST_F(ChannelStreamTest, TheWindowBoundsOperations) {
  Start();
  Open(/*operations=*/2);
  Add(1, OperationKind::kTrim);
  EXPECT_TRUE(stream_.Fits(0));
  Add(2, OperationKind::kTrim);
  EXPECT_FALSE(stream_.Fits(0));
  EXPECT_NE(stream_.Answer(1).call, nullptr);
  EXPECT_TRUE(stream_.Fits(0));
}

TEST_F(ChannelStreamTest, TheWindowBoundsBytes) {
  Start();
  Open(/*operations=*/100, /*bytes=*/1000);
  EXPECT_TRUE(stream_.Fits(5000)) << "else it would never go";
  Add(1, OperationKind::kWrite, 600);
  EXPECT_EQ(stream_.inflight_bytes(), 600);
  EXPECT_TRUE(stream_.Fits(400));
  EXPECT_FALSE(stream_.Fits(401));
  stream_.Answer(1);
  EXPECT_EQ(stream_.inflight_bytes(), 0);
}

TEST_F(ChannelStreamTest, AWindowOfNothingIsOneOperation) {
  Start();
  Open(/*operations=*/0, /*bytes=*/0);
  EXPECT_TRUE(stream_.Fits(1));
  Add(1, OperationKind::kWrite, 1);
  EXPECT_FALSE(stream_.Fits(0));
}

TEST_F(ChannelStreamTest, KnowsEachAnswerOnce) {
  Start();
  Open();
  auto call = Add(5, OperationKind::kTrim);
  EXPECT_EQ(stream_.Answer(4).call, nullptr);
  EXPECT_EQ(stream_.Answer(5).call, call);
  EXPECT_EQ(stream_.Answer(5).call, nullptr);
}

TEST_F(ChannelStreamTest, DropGivesWhatIsUnansweredInTheOrderOfSending) {
  Start();
  Open();
  for (uint64_t id : {9, 3, 7, 5}) Add(id, OperationKind::kRead, 10);
  Add(6, OperationKind::kRead, 10)->ended = true;
  const ChannelStream::Unanswered unanswered = stream_.Drop();
  EXPECT_THAT(unanswered.parts,
              ElementsAre(Field(&Part::offset, 3), Field(&Part::offset, 5),
                          Field(&Part::offset, 7), Field(&Part::offset, 9)));
  EXPECT_FALSE(unanswered.changes);
  EXPECT_EQ(stream_.state(), State::kIdle);
  EXPECT_EQ(stream_.stream(), nullptr);
  EXPECT_EQ(stream_.inflight_bytes(), 0);
}

TEST_F(ChannelStreamTest, ChangesOfEndedCallsMayStillRun) {
  Start();
  Open();
  Add(1, OperationKind::kWrite, 10)->ended = true;
  const ChannelStream::Unanswered unanswered = stream_.Drop();
  EXPECT_THAT(unanswered.parts, IsEmpty());
  EXPECT_TRUE(unanswered.changes);
}

TEST_F(ChannelStreamTest, PausesGrowUntilSomethingIsAnswered) {
  const absl::Duration first = options_.initial_backoff;
  stream_.RetryLater(At(10), random_);
  EXPECT_EQ(stream_.state(), State::kWaiting);
  EXPECT_THAT(stream_.wake() - At(10), AllOf(Ge(first / 2), Le(first)));
  stream_.RetryLater(At(10), random_);
  EXPECT_THAT(stream_.wake() - At(10), AllOf(Ge(first), Le(first * 2)));
  Start();
  Open();
  Add(1, OperationKind::kTrim);
  stream_.Answer(1);
  stream_.Drop();
  stream_.RetryLater(At(10), random_);
  EXPECT_THAT(stream_.wake() - At(10), AllOf(Ge(first / 2), Le(first)));
}

TEST_F(ChannelStreamTest, CountsLossesAndReconnects) {
  stream_.RetryLater(At(10), random_);
  EXPECT_EQ(counters_.lost_streams, 0u) << "it was never open";
  Start();
  Open();
  EXPECT_EQ(counters_.reconnects, 0u);
  for (int i = 0; i < 2; ++i) {
    stream_.Drop();
    stream_.RetryLater(At(10), random_);
    EXPECT_EQ(counters_.lost_streams, 1u);
  }
  Start();
  Open();
  EXPECT_EQ(counters_.lost_streams, 0u);
  EXPECT_EQ(counters_.reconnects, 1u);
  stream_.Drop();
  stream_.RetryLater(At(10), random_);
  stream_.ForgetLoss();
  EXPECT_EQ(counters_.lost_streams, 0u);
}

TEST_F(ChannelStreamTest, HalfClosesOnceAndNotWhileWriting) {
  EXPECT_FALSE(stream_.HalfClose()) << "there is no stream";
  Start();
  EXPECT_FALSE(stream_.HalfClose());
  stream_.set_writing(false);
  EXPECT_TRUE(stream_.HalfClose());
  EXPECT_FALSE(stream_.HalfClose());
}

}  // namespace
}  // namespace ramvol
