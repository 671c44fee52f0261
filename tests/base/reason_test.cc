#include "base/reason.h"

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace ramvol {
namespace {

TEST(ReasonTest, TravelsWithAStatus) {
  const absl::Status status =
      WithReason(absl::NotFoundError("no volume"), reason::kVolumeNotFound);
  EXPECT_EQ(status.message(), "no volume");
  EXPECT_EQ(GetReason(status), "VOLUME_NOT_FOUND");
  EXPECT_TRUE(HasReason(status, reason::kVolumeNotFound));
  EXPECT_FALSE(HasReason(status, reason::kVolumeDeleted));
}

TEST(ReasonTest, IsNotFoundWhereThereIsNone) {
  EXPECT_EQ(GetReason(absl::NotFoundError("x")), "");
  EXPECT_FALSE(HasReason(absl::NotFoundError("x"), reason::kPastEnd));
  EXPECT_TRUE(WithReason(absl::OkStatus(), reason::kPastEnd).ok());
  EXPECT_EQ(GetReason(WithReason(absl::OkStatus(), reason::kPastEnd)), "");
}

TEST(ReasonTest, HasReasonComparesAllOfIt) {
  const absl::Status status =
      WithReason(absl::NotFoundError("x"), reason::kPastEnd);
  EXPECT_FALSE(HasReason(status, "PAST"));
  EXPECT_FALSE(HasReason(status, "PAST_END_OF_IT"));
}

TEST(InvalidFieldTest, NamesTheField) {
  const absl::Status status = InvalidField("size_bytes", "too small");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "too small");
  EXPECT_EQ(GetField(status), "size_bytes");
  EXPECT_EQ(GetReason(status), reason::kInvalidField);
  EXPECT_EQ(GetReason(InvalidField("name", "x", reason::kInvalidName)),
            reason::kInvalidName);
  EXPECT_EQ(GetField(absl::InvalidArgumentError("x")), "");
}

TEST(AnnotateTest, PrependsAndKeepsTheRest) {
  const absl::Status status =
      Annotate(InvalidField("size_bytes", "too small"), "volume \"a\"");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "volume \"a\": too small");
  EXPECT_EQ(GetField(status), "size_bytes");
  EXPECT_EQ(GetReason(status), reason::kInvalidField);
  EXPECT_TRUE(Annotate(absl::OkStatus(), "x").ok());
}

}  // namespace
}  // namespace ramvol
