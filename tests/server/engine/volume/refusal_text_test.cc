#include "server/engine/volume/refusal_text.h"

#include <memory>
#include <string>

#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/memory/account.h"
#include "server/engine/memory/arena.h"

namespace ramvol::engine {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class RefusalTextTest : public ::testing::Test {
 protected:
  absl::Status ExplainCause(Cause cause) {
    return Explain({cause, 3}, {"write", 4096, 8192}, "disk", 1000, &account_);
  }
  std::string Text(Cause cause) {
    return std::string(ExplainCause(cause).message());
  }

  const std::unique_ptr<Arena> arena_ = *Arena::Create(16 << 20);
  Account account_{*arena_, 5 << 20};
};

TEST_F(RefusalTextTest, WhatWasNotRefusedIsOk) {
  EXPECT_TRUE(ExplainCause(Cause::kNone).ok());
}

TEST_F(RefusalTextTest, EachCauseHasItsCodeAndReason) {
  const struct {
    Cause cause;
    absl::StatusCode code;
    std::string_view reason;
  } expected[] = {
      {Cause::kDeleted, absl::StatusCode::kNotFound, reason::kVolumeDeleted},
      {Cause::kPastEnd, absl::StatusCode::kOutOfRange, reason::kPastEnd},
      {Cause::kShrunk, absl::StatusCode::kOutOfRange, reason::kPastEnd},
      {Cause::kReadOnly, absl::StatusCode::kFailedPrecondition,
       reason::kVolumeReadOnly},
      {Cause::kTooLong, absl::StatusCode::kInvalidArgument,
       reason::kTooMuchData},
      {Cause::kVolumeLimit, absl::StatusCode::kResourceExhausted,
       reason::kVolumeMemoryLimit},
      {Cause::kServerLimit, absl::StatusCode::kResourceExhausted,
       reason::kServerMemoryLimit},
      {Cause::kCorrupt, absl::StatusCode::kDataLoss, reason::kCorruptFrame},
      {Cause::kUnread, absl::StatusCode::kDataLoss, reason::kCorruptFrame},
  };
  for (const auto& [cause, code, reason] : expected) {
    const absl::Status status = ExplainCause(cause);
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_TRUE(HasReason(status, reason)) << status;
  }
}

TEST_F(RefusalTextTest, NamesTheRequestAndTheVolumeAndWhatToDo) {
  EXPECT_THAT(Text(Cause::kPastEnd),
              AllOf(HasSubstr("write of 8192 bytes at offset 4096"),
                    HasSubstr("\"disk\" of 1000 bytes"),
                    HasSubstr("resize the volume")));
  EXPECT_THAT(Text(Cause::kShrunk),
              AllOf(HasSubstr("shrunk to 1000 bytes"),
                    HasSubstr("write of 8192 bytes at offset 4096")));
  EXPECT_THAT(Text(Cause::kVolumeLimit),
              AllOf(HasSubstr("write of 8192 bytes at offset 4096"),
                    HasSubstr("memory limit of 5242880"),
                    HasSubstr("raise memory_limit_bytes")));
  EXPECT_THAT(Text(Cause::kServerLimit),
              AllOf(HasSubstr("write of 8192 bytes at offset 4096"),
                    HasSubstr("server's memory limit of 16777216"),
                    HasSubstr("--memory_limit")));
  for (const Cause cause : {Cause::kCorrupt, Cause::kUnread}) {
    EXPECT_THAT(Text(cause),
                AllOf(HasSubstr("\"disk\""), HasSubstr("offset 196608")));
  }
}

TEST_F(RefusalTextTest, BlamesTheFieldThatIsTooLong) {
  EXPECT_EQ(GetField(ExplainCause(Cause::kTooLong)), "data");
  EXPECT_EQ(GetField(Explain({Cause::kTooLong}, {"read", 0, 1 << 30}, "disk",
                             1000, &account_)),
            "length");
}

}  // namespace
}  // namespace ramvol::engine
