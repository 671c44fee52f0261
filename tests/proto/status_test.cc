#include "proto/status.h"

#include <string>

#include "absl/status/status.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol {
namespace {

using ::ramvol::testing::IsInvalidField;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

google::rpc::ErrorInfo ErrorInfoOf(const google::rpc::Status& status) {
  google::rpc::ErrorInfo info;
  EXPECT_GE(status.details_size(), 1);
  EXPECT_TRUE(status.details(0).UnpackTo(&info));
  return info;
}

TEST(StatusTest, OkStaysOk) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
}

TEST(StatusTest, ErrorInfoCarriesReasonDomainAndMetadata) {
  const absl::Status status = WithMetadata(
      WithReason(absl::NotFoundError("no \"x\""), reason::kVolumeNotFound),
      "volume", "x");
  const google::rpc::Status rpc = ToRpcStatus(status);
  EXPECT_EQ(rpc.code(), 5);
  EXPECT_EQ(rpc.message(), "no \"x\"");
  ASSERT_THAT(rpc.details(), SizeIs(1));
  const google::rpc::ErrorInfo info = ErrorInfoOf(rpc);
  EXPECT_EQ(info.reason(), "VOLUME_NOT_FOUND");
  EXPECT_EQ(info.domain(), "ramvol");
  EXPECT_THAT(info.metadata(), ElementsAre(Pair("volume", "x")));
}

TEST(StatusTest, ReasonDefaultsToTheCode) {
  EXPECT_EQ(ErrorInfoOf(ToRpcStatus(absl::DataLossError("m"))).reason(),
            "DATA_LOSS");
}

TEST(StatusTest, InvalidFieldBecomesBadRequest) {
  const google::rpc::Status rpc =
      ToRpcStatus(InvalidField("size_bytes", "size_bytes is 0"));
  ASSERT_THAT(rpc.details(), SizeIs(2));
  google::rpc::BadRequest bad_request;
  ASSERT_TRUE(rpc.details(1).UnpackTo(&bad_request));
  ASSERT_THAT(bad_request.field_violations(), SizeIs(1));
  EXPECT_EQ(bad_request.field_violations(0).field(), "size_bytes");
  EXPECT_EQ(bad_request.field_violations(0).description(), "size_bytes is 0");
}

TEST(StatusTest, ComesBackAsItWent) {
  const absl::Status sent = WithMetadata(
      InvalidField("data", "too much", reason::kTooMuchData), "limit", "16");
  const absl::Status got = FromGrpcStatus(ToGrpcStatus(sent));
  EXPECT_THAT(got, IsInvalidField("data"));
  EXPECT_EQ(got.message(), "too much");
  EXPECT_EQ(GetReason(got), "TOO_MUCH_DATA");
  EXPECT_THAT(GetMetadata(got), ElementsAre(Pair("limit", "16")));
}

TEST(StatusTest, EveryCodeComesBack) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status sent(static_cast<absl::StatusCode>(code), "m");
    EXPECT_EQ(ToGrpcStatus(sent).error_code(), code);
    EXPECT_EQ(FromGrpcStatus(ToGrpcStatus(sent)).code(), sent.code());
  }
}

TEST(StatusTest, ForeignErrorsKeepCodeAndMessage) {
  const absl::Status plain = FromGrpcStatus(
      grpc::Status(grpc::StatusCode::UNAVAILABLE, "connection refused"));
  EXPECT_EQ(plain.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(plain.message(), "connection refused");
  EXPECT_EQ(GetReason(plain), "");
  EXPECT_THAT(GetMetadata(plain), IsEmpty());

  const absl::Status garbled = FromGrpcStatus(
      grpc::Status(grpc::StatusCode::INTERNAL, "m", "\xFF\xFF not a proto"));
  EXPECT_EQ(garbled.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(garbled.message(), "m");
}

TEST(StatusTest, CutsLongMessagesBetweenCharacters) {
  std::string message(kMaxErrorMessageBytes - 1, 'a');
  message += "\xC3\xA9\xC3\xA9";
  const std::string sent =
      ToGrpcStatus(absl::InternalError(message)).error_message();
  EXPECT_EQ(sent, std::string(kMaxErrorMessageBytes - 1, 'a') + "...");
}

TEST(StatusTest, MetadataOfOkIsNothing) {
  EXPECT_TRUE(WithMetadata(absl::OkStatus(), "a", "b").ok());
}

}  // namespace
}  // namespace ramvol
