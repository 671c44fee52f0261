#include "client/call_table.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/call.h"
#include "client/extent.h"
#include "client/io_transport.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/make_call.h"

namespace ramvol {
namespace {

using ::testing::ElementsAre;
using ::testing::FieldsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr OperationKind kWrite = OperationKind::kWrite;
constexpr OperationKind kTrim = OperationKind::kTrim;

class CallTableTest : public ::testing::Test {
 protected:
  std::shared_ptr<Call> Add(OperationKind kind, int64_t offset = 0,
                            int64_t length = 0,
                            absl::Time deadline = At(1000)) {
    auto call = MakeCall(kind, offset, length, deadline);
    calls_.Add(call);
    return call;
  }

  CallTable calls_;
};

TEST_F(CallTableTest, CutsDataAtMultiplesOfThePartSize) {
  calls_.set_part_bytes(100);
  auto call = Add(kWrite, 250, 120);
  EXPECT_EQ(calls_.NextPartBytes(), 50);
  EXPECT_THAT(TakeParts(calls_),
              ElementsAre(FieldsAre(call, 250, 50), FieldsAre(call, 300, 70)));
  EXPECT_EQ(calls_.NextPartBytes(), std::nullopt);
}

TEST_F(CallTableTest, TakesWhatHasNoDataWhole) {
  calls_.set_part_bytes(100);
  auto trim = Add(kTrim, 250, 1000);
  auto empty = Add(kWrite, 7, 0);
  EXPECT_EQ(calls_.NextPartBytes(), 0);
  EXPECT_THAT(TakeParts(calls_),
              ElementsAre(FieldsAre(trim, 250, 1000), FieldsAre(empty, 7, 0)));
}

TEST_F(CallTableTest, EndsWithTheLastPart) {
  calls_.set_part_bytes(100);
  auto call = Add(kWrite, 0, 200);
  const std::vector<Part> parts = TakeParts(calls_);
  calls_.Finish(parts[1], absl::OkStatus());
  EXPECT_THAT(calls_.TakeCompletions(), IsEmpty());
  EXPECT_FALSE(calls_.empty());
  calls_.Finish(parts[0], absl::OkStatus());
  const std::vector<Completion> ended = calls_.TakeCompletions();
  ASSERT_THAT(ended, SizeIs(1));
  EXPECT_EQ(ended[0].call, call);
  EXPECT_TRUE(call->status.ok());
  EXPECT_TRUE(calls_.empty());
}

TEST_F(CallTableTest, AfterAnErrorWaitsOnlyForPartsThatAreOut) {
  calls_.set_part_bytes(100);
  auto call = Add(kWrite, 0, 1000);
  const Part first = calls_.TakePart();
  const Part second = calls_.TakePart();
  calls_.Finish(second, absl::DataLossError("first error"));
  EXPECT_EQ(calls_.NextPartBytes(), std::nullopt) << "the rest is not sent";
  EXPECT_THAT(calls_.TakeCompletions(), IsEmpty());
  calls_.Finish(first, absl::InternalError("second error"));
  EXPECT_THAT(calls_.TakeCompletions(), SizeIs(1));
  EXPECT_TRUE(absl::IsDataLoss(call->status));
}

TEST_F(CallTableTest, WhatIsReplayedComesFirstAndInOrder) {
  auto lost1 = Add(kTrim, 1);
  auto lost2 = Add(kTrim, 2);
  std::vector<Part> parts = TakeParts(calls_);
  auto waiting = Add(kTrim, 3);
  calls_.Replay(std::move(parts));
  EXPECT_THAT(TakeParts(calls_),
              ElementsAre(FieldsAre(lost1, 1, 0), FieldsAre(lost2, 2, 0),
                          FieldsAre(waiting, 3, 0)));
}

TEST_F(CallTableTest, PartsOfEndedCallsAreNotTaken) {
  auto replayed = Add(kTrim, 1);
  calls_.Replay(TakeParts(calls_));
  auto queued = Add(kTrim, 2);
  auto good = Add(kTrim, 3);
  calls_.End(replayed, absl::DeadlineExceededError("late"));
  calls_.End(queued, absl::DeadlineExceededError("late"));
  EXPECT_THAT(TakeParts(calls_), ElementsAre(FieldsAre(good, 3, 0)));
}

TEST_F(CallTableTest, TheFirstEndCounts) {
  auto call = Add(kTrim);
  const Part part = calls_.TakePart();
  calls_.End(call, absl::DeadlineExceededError("late"));
  calls_.End(call, absl::OkStatus());
  calls_.Finish(part, absl::OkStatus());
  EXPECT_THAT(calls_.TakeCompletions(), SizeIs(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(call->status));
}

TEST_F(CallTableTest, EndAllKeepsTheErrorOfAPart) {
  calls_.set_part_bytes(100);
  auto failing = Add(kWrite, 0, 200);
  auto other = Add(kTrim);
  calls_.Finish(TakeParts(calls_)[0], absl::DataLossError("of a part"));
  calls_.EndAll(absl::UnavailableError("no server"));
  EXPECT_THAT(calls_.TakeCompletions(), SizeIs(2));
  EXPECT_TRUE(absl::IsDataLoss(failing->status));
  EXPECT_TRUE(absl::IsUnavailable(other->status));
  EXPECT_TRUE(calls_.empty());
  EXPECT_TRUE(calls_.nothing_queued());
}

TEST_F(CallTableTest, APinHoldsTheCompletionBack) {
  auto call = Add(kWrite, 0, 10);
  calls_.Pin(*call);
  calls_.Pin(*call);
  calls_.End(call, absl::DeadlineExceededError("late"));
  calls_.Unpin(call);
  EXPECT_THAT(calls_.TakeCompletions(), IsEmpty());
  calls_.Unpin(call);
  EXPECT_THAT(calls_.TakeCompletions(), SizeIs(1));
}

TEST_F(CallTableTest, AWaiterHasNoParts) {
  auto call = MakeCall(OperationKind::kFlush);
  calls_.AddWaiter(call);
  EXPECT_EQ(calls_.NextPartBytes(), std::nullopt);
  EXPECT_FALSE(calls_.empty());
  calls_.End(call, absl::OkStatus());
  EXPECT_THAT(calls_.TakeCompletions(), SizeIs(1));
}

TEST_F(CallTableTest, DeadlinesExpireInTheirOrder) {
  EXPECT_EQ(calls_.next_deadline(), absl::InfiniteFuture());
  auto late = Add(kTrim, 0, 0, At(30));
  auto early = Add(kTrim, 0, 0, At(10));
  EXPECT_EQ(calls_.next_deadline(), At(10));
  EXPECT_THAT(calls_.Expired(At(9)), IsEmpty());
  EXPECT_THAT(calls_.Expired(At(10)), ElementsAre(early));
  EXPECT_THAT(calls_.Expired(At(30)), ElementsAre(early, late));
  calls_.End(early, absl::OkStatus());
  EXPECT_EQ(calls_.next_deadline(), At(30));
}

TEST_F(CallTableTest, AdmittedBytesFallPartByPart) {
  calls_.set_part_bytes(1000);
  Add(kWrite, 0, 2000);
  const int64_t all = calls_.admitted_bytes();
  EXPECT_GT(all, 2000);
  const std::vector<Part> parts = TakeParts(calls_);
  calls_.Finish(parts[0], absl::OkStatus());
  EXPECT_EQ(calls_.admitted_bytes(), all - 1000);
  calls_.Finish(parts[1], absl::OkStatus());
  EXPECT_EQ(calls_.admitted_bytes(), 0);
  Add(kTrim, 0, INT64_MAX);
  EXPECT_GT(calls_.admitted_bytes(), 0) << "what has no data is bounded, too";
  EXPECT_LT(calls_.admitted_bytes(), 1000);
}

TEST_F(CallTableTest, ExtentsAreFetchedPageByPageAndJoined) {
  auto call = Add(OperationKind::kGetExtents, 0, 100);
  calls_.FinishExtents(calls_.TakePart(), {{0, 10, true}, {10, 20, false}}, 30,
                       1000);
  EXPECT_THAT(calls_.TakeCompletions(), IsEmpty());
  const Part rest = calls_.TakePart();
  EXPECT_THAT(rest, FieldsAre(call, 30, 70));
  calls_.FinishExtents(rest, {{30, 70, false}}, 100, 1000);
  EXPECT_THAT(calls_.TakeCompletions(), SizeIs(1));
  EXPECT_TRUE(call->status.ok());
  EXPECT_THAT(call->extents,
              ElementsAre(Extent{0, 10, true}, Extent{10, 90, false}));
}

TEST_F(CallTableTest, ExtentsWithoutALengthReachUpToTheVolumesEnd) {
  auto call = Add(OperationKind::kGetExtents, 0, 0);
  calls_.FinishExtents(calls_.TakePart(), {{0, 10, true}}, 10, 30);
  const Part rest = calls_.TakePart();
  EXPECT_THAT(rest, FieldsAre(call, 10, 0));
  calls_.FinishExtents(rest, {{10, 20, true}}, 30, 30);
  EXPECT_TRUE(call->ended);
  EXPECT_THAT(call->extents, ElementsAre(Extent{0, 30, true}));
}

TEST_F(CallTableTest, FirstExtentsNeedOneAnswer) {
  auto call = Add(OperationKind::kGetExtents, 0, 100);
  call->request.max_extents = 1;
  calls_.FinishExtents(calls_.TakePart(), {{0, 10, true}}, 10, 1000);
  EXPECT_TRUE(call->ended);
  EXPECT_TRUE(call->status.ok());
  EXPECT_THAT(call->extents, ElementsAre(Extent{0, 10, true}));
}

TEST_F(CallTableTest, AServerThatListsNothingMoreIsAnError) {
  auto call = Add(OperationKind::kGetExtents, 0, 100);
  calls_.FinishExtents(calls_.TakePart(), {}, 0, 1000);
  EXPECT_TRUE(call->ended);
  EXPECT_TRUE(absl::IsInternal(call->status)) << call->status;
}

TEST_F(CallTableTest, ACompletionRunsItsCallbackOnceAndLetsGoOfIt) {
  auto token = std::make_shared<int>(0);
  auto call = MakeCall(kTrim);
  call->request.done = [token](const absl::Status&) { ++*token; };
  calls_.Add(call);
  calls_.End(call, absl::OkStatus());
  for (Completion& completion : calls_.TakeCompletions()) completion.Run();
  EXPECT_EQ(*token, 1);
  EXPECT_EQ(token.use_count(), 1) << "the callback is still held";
}

}  // namespace
}  // namespace ramvol
