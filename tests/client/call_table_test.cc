#include "client/call_table.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr int64_t kPart = 65536;

class CallTableTest : public ::testing::Test {
 protected:
  CallTableTest() { table_.set_part_bytes(kPart); }

  std::shared_ptr<Call> Add(OperationKind kind, int64_t offset, int64_t length,
                            absl::Time deadline = absl::InfiniteFuture()) {
    auto call = std::make_shared<Call>();
    call->kind = kind;
    call->offset = offset;
    call->length = length;
    call->deadline = deadline;
    if (kind == OperationKind::kGetExtents) {
      call->extents_done = [this](absl::StatusOr<std::vector<Extent>> found) {
        results_.push_back(found.status());
        if (found.ok()) extents_ = *std::move(found);
      };
    } else {
      call->done = [this](absl::Status status) {
        results_.push_back(std::move(status));
      };
    }
    table_.Add(call);
    return call;
  }
  std::vector<std::pair<int64_t, int64_t>> TakeAllParts() {
    std::vector<std::pair<int64_t, int64_t>> ranges;
    while (table_.has_parts()) {
      parts_.push_back(table_.TakePart());
      ranges.emplace_back(parts_.back().offset, parts_.back().length);
    }
    return ranges;
  }
  void RunCompletions() {
    for (Completion& completion : table_.TakeCompletions()) completion.Run();
  }
  std::vector<absl::StatusCode> Results() {
    RunCompletions();
    std::vector<absl::StatusCode> codes;
    for (const absl::Status& status : results_) codes.push_back(status.code());
    return codes;
  }

  CallTable table_;
  std::vector<Part> parts_;
  std::vector<absl::Status> results_;
  std::vector<Extent> extents_;
};

constexpr auto kOk = absl::StatusCode::kOk;

TEST_F(CallTableTest, DataIsCutAtMultiplesOfThePart) {
  Add(OperationKind::kWrite, kPart - 10, kPart + 20);
  EXPECT_THAT(TakeAllParts(), ElementsAre(std::pair(kPart - 10, int64_t{10}),
                                          std::pair(kPart, kPart),
                                          std::pair(2 * kPart, int64_t{10})));
}

TEST_F(CallTableTest, WhatMovesNoDataIsOnePart) {
  Add(OperationKind::kTrim, 0, 100 * kPart);
  Add(OperationKind::kFlush, 0, 0);
  Add(OperationKind::kRead, 5, 0);
  EXPECT_THAT(TakeAllParts(), SizeIs(3));
  EXPECT_EQ(parts_[0].window_bytes(), 0);
}

TEST_F(CallTableTest, ACallEndsWithItsLastPart) {
  Add(OperationKind::kRead, 0, 2 * kPart);
  TakeAllParts();
  table_.Finish(parts_[1], absl::OkStatus());
  EXPECT_THAT(Results(), SizeIs(0));
  table_.Finish(parts_[0], absl::OkStatus());
  EXPECT_THAT(Results(), ElementsAre(kOk));
  EXPECT_TRUE(table_.empty());
  EXPECT_EQ(table_.admitted_bytes(), 0);
}

TEST_F(CallTableTest, AfterAnErrorNoMorePartsAreCutAndTheFirstErrorStands) {
  Add(OperationKind::kWrite, 0, 3 * kPart);
  const Part first = table_.TakePart();
  const Part second = table_.TakePart();
  table_.Finish(second, absl::DataLossError("second"));
  EXPECT_FALSE(table_.has_parts());
  EXPECT_THAT(Results(), SizeIs(0)) << "the first part may still write";
  table_.Finish(first, absl::ResourceExhaustedError("first"));
  EXPECT_THAT(Results(), ElementsAre(absl::StatusCode::kDataLoss));
}

TEST_F(CallTableTest, LostPartsAreTakenAgainBeforeAllOthers) {
  Add(OperationKind::kWrite, 0, 2 * kPart);
  TakeAllParts();
  Add(OperationKind::kWrite, 9 * kPart, 1);
  table_.Replay({parts_[0], parts_[1]});
  parts_.clear();
  EXPECT_THAT(TakeAllParts(),
              ElementsAre(std::pair(int64_t{0}, kPart), std::pair(kPart, kPart),
                          std::pair(9 * kPart, int64_t{1})));
  for (const Part& part : parts_) table_.Finish(part, absl::OkStatus());
  EXPECT_THAT(Results(), ElementsAre(kOk, kOk));
}

TEST_F(CallTableTest, AnEndedCallIgnoresItsPartsAndIsNotReplayed) {
  const auto call = Add(OperationKind::kWrite, 0, 2 * kPart);
  TakeAllParts();
  table_.End(call, absl::DeadlineExceededError("late"));
  table_.Finish(parts_[0], absl::OkStatus());
  table_.Replay({parts_[1]});
  EXPECT_FALSE(table_.has_parts());
  EXPECT_THAT(Results(), ElementsAre(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(CallTableTest, ACompletionWaitsForWhoHoldsTheBuffer) {
  const auto call = Add(OperationKind::kRead, 0, 1);
  table_.Pin(*call);
  table_.Pin(*call);
  table_.End(call, absl::CancelledError("enough"));
  EXPECT_TRUE(table_.empty());
  table_.Unpin(call);
  EXPECT_THAT(Results(), SizeIs(0));
  table_.Unpin(call);
  EXPECT_THAT(Results(), SizeIs(1));
}

TEST_F(CallTableTest, AdmittedBytesShrinkWithEachPartAndEveryCallCosts) {
  Add(OperationKind::kWrite, 0, 2 * kPart);
  const int64_t cost = table_.admitted_bytes() - 2 * kPart;
  EXPECT_GT(cost, 0);
  Add(OperationKind::kTrim, 0, 1000 * kPart);
  EXPECT_EQ(table_.admitted_bytes(), 2 * kPart + 2 * cost);
  TakeAllParts();
  table_.Finish(parts_[0], absl::OkStatus());
  EXPECT_EQ(table_.admitted_bytes(), kPart + 2 * cost);
}

TEST_F(CallTableTest, DeadlinesComeInOrder) {
  const absl::Time now = absl::FromUnixSeconds(1000);
  EXPECT_EQ(table_.next_deadline(), absl::InfiniteFuture());
  Add(OperationKind::kFlush, 0, 0, now + absl::Seconds(2));
  const auto soon = Add(OperationKind::kFlush, 0, 0, now + absl::Seconds(1));
  EXPECT_EQ(table_.next_deadline(), now + absl::Seconds(1));
  EXPECT_THAT(table_.Expired(now), SizeIs(0));
  EXPECT_THAT(table_.Expired(now + absl::Seconds(1)), ElementsAre(soon));
  EXPECT_THAT(table_.Expired(now + absl::Seconds(2)), SizeIs(2));
}

TEST_F(CallTableTest, ExtentsOfSeveralPartsAreJoined) {
  Add(OperationKind::kGetExtents, 0, 3 * kPart);
  Part part = table_.TakePart();
  table_.FinishExtents(part, {{0, kPart, false}, {kPart, 100, true}},
                       kPart + 100, 10 * kPart);
  part = table_.TakePart();
  EXPECT_EQ(part.offset, kPart + 100);
  EXPECT_EQ(part.length, 2 * kPart - 100);
  table_.FinishExtents(part, {{kPart + 100, 2 * kPart - 100, true}}, 3 * kPart,
                       10 * kPart);
  EXPECT_THAT(Results(), ElementsAre(kOk));
  ASSERT_THAT(extents_, SizeIs(2));
  EXPECT_EQ(extents_[1].offset, kPart);
  EXPECT_EQ(extents_[1].length, 2 * kPart);
  EXPECT_TRUE(extents_[1].hole);
}

TEST_F(CallTableTest, ExtentsThatDoNotMoveOnAreAnError) {
  Add(OperationKind::kGetExtents, kPart, kPart);
  const Part part = table_.TakePart();
  table_.FinishExtents(part, {}, kPart, 10 * kPart);
  EXPECT_FALSE(table_.has_parts());
  EXPECT_THAT(Results(), ElementsAre(absl::StatusCode::kInternal));
}

TEST_F(CallTableTest, FirstExtentsNeedOneAnswer) {
  const auto call = Add(OperationKind::kGetExtents, 0, 3 * kPart);
  call->max_extents = 1;
  const Part part = table_.TakePart();
  table_.FinishExtents(part, {{0, kPart, false}}, kPart, 10 * kPart);
  EXPECT_THAT(Results(), ElementsAre(kOk));
  EXPECT_THAT(extents_, SizeIs(1));
}

TEST_F(CallTableTest, EndAllKeepsAnErrorThatACallHasAlready) {
  Add(OperationKind::kWrite, 0, 2 * kPart);
  Add(OperationKind::kFlush, 0, 0);
  table_.TakePart();
  table_.Finish(table_.TakePart(), absl::DataLossError("lost"));
  table_.EndAll(absl::UnavailableError("gone"));
  EXPECT_THAT(Results(),
              ::testing::UnorderedElementsAre(absl::StatusCode::kDataLoss,
                                              absl::StatusCode::kUnavailable));
  EXPECT_TRUE(table_.empty());
  EXPECT_FALSE(table_.has_parts());
}

}  // namespace
}  // namespace ramvol
