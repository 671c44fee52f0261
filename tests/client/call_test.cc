#include "client/call.h"

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "base/reason.h"
#include "client/io_transport.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/make_call.h"

namespace ramvol {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(CallTest, OnlyChangesAreChanges) {
  EXPECT_TRUE(IsChange(OperationKind::kWrite));
  EXPECT_TRUE(IsChange(OperationKind::kTrim));
  EXPECT_TRUE(IsChange(OperationKind::kWriteZeroes));
  EXPECT_FALSE(IsChange(OperationKind::kRead));
  EXPECT_FALSE(IsChange(OperationKind::kFlush));
  EXPECT_FALSE(IsChange(OperationKind::kGetExtents));
}

TEST(CallTest, OnlyDataCountsAgainstWindows) {
  const Part write{MakeCall(OperationKind::kWrite, 0, 10), 0, 10};
  const Part trim{MakeCall(OperationKind::kTrim, 0, 10), 0, 10};
  EXPECT_EQ(write.window_bytes(), 10);
  EXPECT_EQ(trim.window_bytes(), 0);
}

TEST(CallTest, AnOperationBorrowsItsPartOfTheData) {
  const std::string data = "abcdef";
  auto call = MakeCall(OperationKind::kWrite, 100, 6);
  call->request.data = data.data();
  const Operation operation = ToOperation(7, {call, 102, 3});
  EXPECT_EQ(operation.id, 7u);
  EXPECT_EQ(operation.offset, 102);
  EXPECT_EQ(operation.data, "cde");
  EXPECT_EQ(operation.data.data(), data.data() + 2);
}

TEST(CallTest, NoMoreExtentsAreAskedForThanTheServerAllows) {
  auto call = MakeCall(OperationKind::kGetExtents);
  EXPECT_EQ(ToOperation(1, {call, 0, 0}).max_extents, kMaxExtents);
  call->request.max_extents = 5;
  EXPECT_EQ(ToOperation(1, {call, 0, 0}).max_extents, 5);
  call->request.max_extents = kMaxExtents + 1;
  EXPECT_EQ(ToOperation(1, {call, 0, 0}).max_extents, kMaxExtents);
}

TEST(CallTest, PiecesAreJoinedInTheUsersBuffer) {
  std::string out(8, '.');
  auto call = MakeCall(OperationKind::kRead, 100, 8);
  call->request.out = out.data();
  OperationResult result;
  result.data = {"ab", "", "c"};
  EXPECT_TRUE(CopyToUser({call, 104, 3}, result).ok());
  EXPECT_EQ(out, "....abc.");
}

TEST(CallTest, AnAnswerOfAnotherLengthIsNotCopied) {
  std::string out(8, '.');
  auto call = MakeCall(OperationKind::kRead, 100, 8);
  call->request.out = out.data();
  OperationResult result;
  result.data = {"abcd"};
  const absl::Status status = CopyToUser({call, 104, 3}, result);
  EXPECT_TRUE(absl::IsInternal(status));
  EXPECT_THAT(status.message(), AllOf(HasSubstr("3 bytes at offset 104"),
                                      HasSubstr("with 4 bytes")));
  EXPECT_EQ(out, "........");
}

TEST(CallTest, RangesWhosePartsHaveNoOffsetAreRefused) {
  Request request;
  request.kind = OperationKind::kRead;
  request.offset = INT64_MAX - 1;
  request.length = 1;
  EXPECT_TRUE(CheckRange(request).ok());
  request.length = 2;
  const absl::Status status = CheckRange(request);
  EXPECT_TRUE(absl::IsOutOfRange(status));
  EXPECT_EQ(GetReason(status), reason::kPastEnd);
  EXPECT_THAT(status.message(), HasSubstr("read of 2 bytes"));
  request.kind = OperationKind::kTrim;
  EXPECT_TRUE(CheckRange(request).ok()) << "the server's to judge";
}

}  // namespace
}  // namespace ramvol
