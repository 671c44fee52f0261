#include "server/service/io_session.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/status.h"
#include "server/service/limits.h"
#include "tests/support/status_matchers.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::HasReason;
using ::ramvol::testing::IsInvalidField;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Adds a read with this id.
v1::IoOperation* AddRead(v1::IoRequest* request, uint64_t id,
                         int64_t length = 1) {
  v1::IoOperation* operation = request->add_operations();
  operation->set_id(id);
  operation->mutable_read()->set_length(length);
  return operation;
}

v1::IoRequest Reads(uint64_t first_id, size_t count, int64_t length = 1) {
  v1::IoRequest request;
  for (size_t i = 0; i < count; ++i) AddRead(&request, first_id + i, length);
  return request;
}

std::unique_ptr<v1::IoResult> Result(uint64_t id, size_t data_bytes = 0) {
  auto result = std::make_unique<v1::IoResult>();
  result->set_id(id);
  result->mutable_data()->assign(data_bytes, 'x');
  return result;
}

std::vector<uint64_t> Ids(const v1::IoResponse& response) {
  std::vector<uint64_t> ids;
  for (const auto& result : response.results()) ids.push_back(result.id());
  return ids;
}

class IoSessionTest : public ::testing::Test {
 protected:
  // Opens the session with the first message, and sends `opened`.
  void Open() {
    v1::IoRequest first;
    first.set_volume("v");
    ASSERT_THAT(session_.Receive(&first), IsOk());
    session_.Open(v1::IoOpened());
    v1::IoResponse response;
    ASSERT_TRUE(session_.NextMessage(&response));
    ASSERT_TRUE(response.has_opened());
  }

  absl::Status Receive(v1::IoRequest request) {
    return session_.Receive(&request);
  }

  // Runs all waiting operations. Each result has `data_bytes` of data.
  void RunAll(size_t data_bytes = 0) {
    while (auto operation = session_.NextOperation(Lane::kPrompt)) {
      session_.Complete(Result(operation->id(), data_bytes));
    }
  }

  IoSession session_;
};

TEST_F(IoSessionTest, FirstMessageMustNameAVolume) {
  EXPECT_THAT(Receive(Reads(1, 1)), IsInvalidField("volume"));
}

TEST_F(IoSessionTest, LaterMessagesMustNotNameOne) {
  Open();
  v1::IoRequest request = Reads(1, 1);
  request.set_volume("v");
  EXPECT_THAT(Receive(request), IsInvalidField("volume"));
}

TEST_F(IoSessionTest, OpenedLeadsAndTellsTheWindow) {
  v1::IoRequest first = Reads(1, 1);
  first.set_volume("v");
  ASSERT_THAT(session_.Receive(&first), IsOk());
  EXPECT_EQ(session_.volume_name(), "v");
  session_.Open(v1::IoOpened());
  RunAll();
  v1::IoResponse response;
  ASSERT_TRUE(session_.NextMessage(&response));
  EXPECT_EQ(response.opened().window_operations(), 256);
  EXPECT_EQ(response.opened().window_bytes(), 32 << 20);
  EXPECT_EQ(response.opened().max_data_bytes(), 16 << 20);
  EXPECT_THAT(Ids(response), ElementsAre(1));
  EXPECT_FALSE(session_.NextMessage(&response));
  EXPECT_TRUE(session_.Idle());
}

TEST_F(IoSessionTest, NothingBeginsBeforeItIsOpen) {
  v1::IoRequest first = Reads(1, 1);
  first.set_volume("v");
  ASSERT_THAT(session_.Receive(&first), IsOk());
  EXPECT_EQ(session_.NextOperation(Lane::kPrompt), nullptr);
  EXPECT_EQ(session_.WaitingCostBytes(Lane::kPrompt), 0);
  EXPECT_EQ(session_.SmallOnesWaiting(Lane::kPrompt), 0);
  session_.End(absl::OkStatus());
  EXPECT_FALSE(session_.Idle()) << "the client waits for its answer";
  session_.Open(v1::IoOpened());
  EXPECT_EQ(session_.SmallOnesWaiting(Lane::kPrompt), 1);
  RunAll();
  v1::IoResponse response;
  ASSERT_TRUE(session_.NextMessage(&response));
  EXPECT_TRUE(session_.Idle());
}

TEST_F(IoSessionTest, WhatIsAbandonedIsNotOpened) {
  v1::IoRequest first = Reads(1, 1);
  first.set_volume("v");
  ASSERT_THAT(session_.Receive(&first), IsOk());
  session_.Abandon(absl::CancelledError("gone"));
  EXPECT_TRUE(session_.Idle());
  session_.Open(v1::IoOpened());
  v1::IoResponse response;
  EXPECT_FALSE(session_.NextMessage(&response));
  EXPECT_TRUE(session_.Idle());
}

TEST_F(IoSessionTest, LaterMessagesMustNotReplaceStreams) {
  Open();
  v1::IoRequest request = Reads(1, 1);
  request.add_replaces(5);
  EXPECT_THAT(Receive(request), IsInvalidField("stream_id"));
}

TEST_F(IoSessionTest, FirstWindowIsSmaller) {
  v1::IoRequest first = Reads(1, kMaxFirstWindowOperations + 1);
  first.set_volume("v");
  EXPECT_THAT(session_.Receive(&first),
              HasReason(absl::StatusCode::kFailedPrecondition,
                        reason::kWindowExceeded));
}

TEST_F(IoSessionTest, FirstWindowOfBytesIsSmaller) {
  v1::IoRequest first = Reads(1, 2, kMaxFirstWindowBytes / 2);
  first.set_volume("v");
  ASSERT_THAT(session_.Receive(&first), IsOk());
  EXPECT_THAT(Receive(Reads(3, 1, 1)),
              HasReason(absl::StatusCode::kFailedPrecondition,
                        reason::kWindowExceeded));
}

TEST_F(IoSessionTest, WindowOfOperationsIsExact) {
  Open();
  ASSERT_THAT(Receive(Reads(1, kMaxWindowOperations)), IsOk());
  const absl::Status status = Receive(Reads(1000, 1));
  EXPECT_THAT(status, HasReason(absl::StatusCode::kFailedPrecondition,
                                reason::kWindowExceeded));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                               AllOf(HasSubstr("256 operations"),
                                     HasSubstr("256 were unanswered"),
                                     HasSubstr("1 more"))));
  EXPECT_EQ(GetMetadata(status).at("window"), "256");
}

TEST_F(IoSessionTest, WindowOfBytesCountsReadsAndWrites) {
  Open();
  v1::IoRequest request = Reads(1, 1, kMaxDataBytes);
  v1::IoOperation* write = request.add_operations();
  write->set_id(2);
  write->mutable_write()->mutable_data()->resize(kMaxDataBytes);
  ASSERT_THAT(Receive(std::move(request)), IsOk());
  EXPECT_EQ(session_.unanswered_bytes(), kMaxWindowBytes);
  EXPECT_THAT(Receive(Reads(3, 1, 0)), IsOk());
  EXPECT_THAT(Receive(Reads(4, 1, 1)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("33554432 bytes of data")));
}

TEST_F(IoSessionTest, ImpossibleReadsTakeNothingFromTheWindow) {
  Open();
  ASSERT_THAT(Receive(Reads(1, 1, -5)), IsOk());
  EXPECT_EQ(session_.unanswered_bytes(), 0);
  ASSERT_THAT(Receive(Reads(2, 1, std::numeric_limits<int64_t>::max())),
              IsOk());
  EXPECT_EQ(session_.unanswered_bytes(), kMaxDataBytes);
}

TEST_F(IoSessionTest, AnswersGiveTheWindowBack) {
  Open();
  for (uint64_t round = 0; round < 3; ++round) {
    ASSERT_THAT(Receive(Reads(1, kMaxWindowOperations, 1000)), IsOk());
    RunAll();
    v1::IoResponse response;
    while (session_.NextMessage(&response)) {
    }
    EXPECT_EQ(session_.unanswered_operations(), 0);
    EXPECT_EQ(session_.unanswered_bytes(), 0);
  }
}

TEST_F(IoSessionTest, TellsWhatItHolds) {
  constexpr size_t kEach = IoSession::kOperationHeldBytes;
  Open();
  EXPECT_EQ(session_.held_bytes(), 0);
  v1::IoRequest request = Reads(1, 2, 5000);
  AddRead(&request, 3)->mutable_write()->mutable_data()->assign(1000, 'x');
  ASSERT_THAT(session_.Receive(&request), IsOk());
  // A read takes memory from its beginning, a write from its arrival.
  EXPECT_EQ(session_.held_bytes(), 3 * kEach + 1000);
  EXPECT_EQ(session_.NextResultBytes(Lane::kPrompt), 5000);
  EXPECT_EQ(session_.NextResultBytes(Lane::kMayWait), 0);
  ASSERT_NE(session_.NextOperation(Lane::kPrompt), nullptr);
  EXPECT_EQ(session_.held_bytes(), 3 * kEach + 6000);
  ASSERT_NE(session_.NextOperation(Lane::kMayWait), nullptr);
  session_.Complete(Result(3));
  EXPECT_LT(session_.held_bytes(), 3 * kEach + 5100);
  session_.Complete(Result(1, 2000));
  EXPECT_GE(session_.held_bytes(), 3 * kEach + 2000);
  EXPECT_LT(session_.held_bytes(), 3 * kEach + 2100);
  v1::IoResponse response;
  ASSERT_TRUE(session_.NextMessage(&response));
  EXPECT_EQ(session_.held_bytes(), kEach);
}

TEST_F(IoSessionTest, WhatIsAbandonedHoldsNothingButWhatRuns) {
  Open();
  ASSERT_THAT(Receive(Reads(1, 3, 5000)), IsOk());
  ASSERT_NE(session_.NextOperation(Lane::kPrompt), nullptr);
  ASSERT_NE(session_.NextOperation(Lane::kPrompt), nullptr);
  session_.Complete(Result(1, 5000));
  session_.Abandon(absl::CancelledError("gone"));
  EXPECT_EQ(session_.held_bytes(), IoSession::kOperationHeldBytes + 5000);
  session_.Complete(Result(2, 5000));
  EXPECT_EQ(session_.held_bytes(), 0);
}

TEST_F(IoSessionTest, RefusesIdsInUseAndTakesNothingOfThatMessage) {
  Open();
  ASSERT_THAT(Receive(Reads(7, 1)), IsOk());
  v1::IoRequest request = Reads(1, 1);
  AddRead(&request, 7);
  const absl::Status status = Receive(request);
  EXPECT_THAT(status, IsInvalidField("operations[1].id"));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("id 7 is in use")));
  EXPECT_EQ(session_.unanswered_operations(), 1);
  RunAll();
  v1::IoResponse response;
  ASSERT_TRUE(session_.NextMessage(&response));
  EXPECT_THAT(Ids(response), ElementsAre(7));
}

TEST_F(IoSessionTest, RefusesOneIdTwiceInAMessage) {
  Open();
  v1::IoRequest request = Reads(1, 1, 100);
  AddRead(&request, 1, 200);
  EXPECT_THAT(Receive(request), IsInvalidField("operations[1].id"));
  EXPECT_EQ(session_.unanswered_operations(), 0);
  EXPECT_EQ(session_.unanswered_bytes(), 0);
}

TEST_F(IoSessionTest, AnIdIsFreeAgainOnceAnswered) {
  Open();
  v1::IoResponse response;
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(Receive(Reads(5, 1)), IsOk());
    RunAll();
    ASSERT_TRUE(session_.NextMessage(&response));
  }
}

TEST_F(IoSessionTest, RefusesOperationsWithoutKind) {
  Open();
  v1::IoRequest request;
  request.add_operations()->set_id(3);
  EXPECT_THAT(Receive(request), IsInvalidField("operations[0]"));
  EXPECT_TRUE(session_.Idle());
}

TEST_F(IoSessionTest, AnswersInTheOrderOfCompletion) {
  Open();
  ASSERT_THAT(Receive(Reads(1, 3)), IsOk());
  auto first = session_.NextOperation(Lane::kPrompt);
  auto second = session_.NextOperation(Lane::kPrompt);
  auto third = session_.NextOperation(Lane::kPrompt);
  EXPECT_EQ(session_.NextOperation(Lane::kPrompt), nullptr);
  session_.Complete(Result(third->id()));
  session_.Complete(Result(first->id()));
  v1::IoResponse response;
  ASSERT_TRUE(session_.NextMessage(&response));
  EXPECT_THAT(Ids(response), ElementsAre(3, 1));
  EXPECT_FALSE(session_.NextMessage(&response));
  EXPECT_FALSE(session_.Idle());
  session_.Complete(Result(second->id()));
  ASSERT_TRUE(session_.NextMessage(&response));
  EXPECT_THAT(Ids(response), ElementsAre(2));
}

TEST_F(IoSessionTest, WritesHaveALaneOfTheirOwn) {
  Open();
  v1::IoRequest request = Reads(1, 1);
  v1::IoOperation* write = request.add_operations();
  write->set_id(2);
  write->mutable_write()->set_data("x");
  v1::IoOperation* zero = request.add_operations();
  zero->set_id(3);
  zero->mutable_write_zeroes();
  ASSERT_THAT(Receive(std::move(request)), IsOk());
  EXPECT_EQ(session_.NextOperation(Lane::kMayWait)->id(), 2);
  EXPECT_EQ(session_.NextOperation(Lane::kMayWait)->id(), 3);
  EXPECT_EQ(session_.NextOperation(Lane::kMayWait), nullptr);
  EXPECT_EQ(session_.NextOperation(Lane::kPrompt)->id(), 1);
}

TEST_F(IoSessionTest, BatchesAreBoundedInBytes) {
  Open();
  ASSERT_THAT(Receive(Reads(1, 6, 1 << 20)), IsOk());
  RunAll(1 << 20);
  v1::IoResponse response;
  ASSERT_TRUE(session_.NextMessage(&response));
  EXPECT_THAT(Ids(response), ElementsAre(1, 2, 3));
  EXPECT_LT(response.ByteSizeLong(), 4u << 20);
  ASSERT_TRUE(session_.NextMessage(&response));
  EXPECT_THAT(Ids(response), ElementsAre(4, 5, 6));
}

TEST_F(IoSessionTest, OneResultMayBeLargerThanABatch) {
  Open();
  ASSERT_THAT(Receive(Reads(1, 2, kMaxDataBytes)), IsOk());
  RunAll(kMaxDataBytes);
  v1::IoResponse response;
  ASSERT_TRUE(session_.NextMessage(&response));
  EXPECT_THAT(Ids(response), ElementsAre(1));
}

TEST_F(IoSessionTest, SlowReaderStopsFurtherOperations) {
  Open();
  ASSERT_THAT(Receive(Reads(1, 200, 64 << 10)), IsOk());
  size_t begun = 0;
  while (auto operation = session_.NextOperation(Lane::kPrompt)) {
    session_.Complete(Result(operation->id(), 64 << 10));
    ++begun;
  }
  EXPECT_LE(begun, kMaxReadyBytes / (64 << 10));
  EXPECT_GE(begun, kMaxReadyBytes / (64 << 10) - 1);
  EXPECT_EQ(session_.WaitingCostBytes(Lane::kPrompt), 0);
  // Once it has read something, they go on.
  v1::IoResponse response;
  ASSERT_TRUE(session_.NextMessage(&response));
  EXPECT_GT(session_.WaitingCostBytes(Lane::kPrompt), 0);
  EXPECT_NE(session_.NextOperation(Lane::kPrompt), nullptr);
}

TEST_F(IoSessionTest, EndKeepsWhatWasReceived) {
  Open();
  ASSERT_THAT(Receive(Reads(1, 2)), IsOk());
  session_.End(absl::InvalidArgumentError("first"));
  session_.End(absl::OkStatus());
  EXPECT_TRUE(session_.ended());
  EXPECT_EQ(session_.end_status().message(), "first");
  EXPECT_FALSE(session_.Idle());
  RunAll();
  v1::IoResponse response;
  ASSERT_TRUE(session_.NextMessage(&response));
  EXPECT_THAT(Ids(response), ElementsAre(1, 2));
  EXPECT_TRUE(session_.Idle());
}

TEST_F(IoSessionTest, AbandonKeepsOnlyWhatRuns) {
  Open();
  ASSERT_THAT(Receive(Reads(1, 3)), IsOk());
  auto running = session_.NextOperation(Lane::kPrompt);
  auto done = session_.NextOperation(Lane::kPrompt);
  session_.Complete(Result(done->id()));
  session_.Abandon(absl::CancelledError("gone"));
  EXPECT_EQ(session_.NextOperation(Lane::kPrompt), nullptr);
  EXPECT_FALSE(session_.Idle());
  session_.Complete(Result(running->id()));
  v1::IoResponse response;
  EXPECT_FALSE(session_.NextMessage(&response));
  EXPECT_TRUE(session_.Idle());
}

TEST_F(IoSessionTest, FailWaitingAnswersEachWithTheError) {
  Open();
  ASSERT_THAT(Receive(Reads(1, 2)), IsOk());
  session_.FailWaiting(Lane::kPrompt, absl::UnavailableError("busy"));
  v1::IoResponse response;
  ASSERT_TRUE(session_.NextMessage(&response));
  EXPECT_THAT(Ids(response), ElementsAre(1, 2));
  EXPECT_EQ(response.results(0).error().message(), "busy");
  EXPECT_TRUE(session_.Idle());
}

TEST_F(IoSessionTest, SmallOnesWaitUntilALargeOneComes) {
  Open();
  ASSERT_THAT(Receive(Reads(1, 2, kMaxInlineBytes)), IsOk());
  EXPECT_EQ(session_.SmallOnesWaiting(Lane::kPrompt), 2);
  EXPECT_EQ(session_.SmallOnesWaiting(Lane::kMayWait), 0);
  ASSERT_THAT(Receive(Reads(3, 1, kMaxInlineBytes + 1)), IsOk());
  EXPECT_EQ(session_.SmallOnesWaiting(Lane::kPrompt), 0);
  RunAll();
  ASSERT_THAT(Receive(Reads(4, 1, 1)), IsOk());
  EXPECT_EQ(session_.SmallOnesWaiting(Lane::kPrompt), 1);
  session_.FailWaiting(Lane::kPrompt, absl::UnavailableError("busy"));
  EXPECT_EQ(session_.SmallOnesWaiting(Lane::kPrompt), 0);
}

TEST_F(IoSessionTest, AnOperationOfAnyLengthIsNoSmallOne) {
  Open();
  v1::IoRequest request = Reads(1, 1);
  v1::IoOperation& trim = *request.add_operations();
  trim.set_id(2);
  trim.mutable_trim()->set_length(1);
  ASSERT_THAT(Receive(request), IsOk());
  EXPECT_EQ(session_.SmallOnesWaiting(Lane::kPrompt), 0);
}

}  // namespace
}  // namespace ramvol::service
