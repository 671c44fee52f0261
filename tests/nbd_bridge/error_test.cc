#include "nbd_bridge/error.h"

#include "absl/status/status.h"
#include "base/nbd_constants.h"
#include "gtest/gtest.h"

namespace ramvol::nbd {
namespace {

TEST(ErrorTest, AFullServerFailsChangesWithEnospcAndReadsWithEio) {
  const absl::Status full = absl::ResourceExhaustedError("full");
  EXPECT_EQ(ToNbdError(full, Command::kWrite), Error::kNoSpace);
  EXPECT_EQ(ToNbdError(full, Command::kTrim), Error::kNoSpace);
  EXPECT_EQ(ToNbdError(full, Command::kRead), Error::kIo);
}

TEST(ErrorTest, APartPastTheEndIsEnospcOnlyForWhatIsStored) {
  const absl::Status past = absl::OutOfRangeError("past the end");
  EXPECT_EQ(ToNbdError(past, Command::kWrite), Error::kNoSpace);
  EXPECT_EQ(ToNbdError(past, Command::kWriteZeroes), Error::kNoSpace);
  EXPECT_EQ(ToNbdError(past, Command::kTrim), Error::kInval);
  EXPECT_EQ(ToNbdError(past, Command::kRead), Error::kInval);
}

TEST(ErrorTest, AVolumeThatBecameReadOnlyRefusesChangesWithEperm) {
  const absl::Status read_only = absl::FailedPreconditionError("read-only");
  EXPECT_EQ(ToNbdError(read_only, Command::kTrim), Error::kPerm);
  EXPECT_EQ(ToNbdError(read_only, Command::kFlush), Error::kIo);
}

TEST(ErrorTest, ADeletedVolumeEndsTheExport) {
  EXPECT_EQ(ToNbdError(absl::NotFoundError("gone"), Command::kRead),
            Error::kShutdown);
}

TEST(ErrorTest, WhatHasNoErrorOfItsOwnIsEio) {
  for (const absl::Status& status :
       {absl::DataLossError(""), absl::UnavailableError(""),
        absl::AbortedError(""), absl::InternalError("")}) {
    EXPECT_EQ(ToNbdError(status, Command::kWrite), Error::kIo) << status;
  }
  EXPECT_EQ(ToNbdError(absl::OkStatus(), Command::kWrite), Error::kNone);
}

TEST(ErrorTest, EveryCommandAndErrorHasItsOwnCounter) {
  EXPECT_EQ(KindOf(static_cast<uint16_t>(Command::kBlockStatus)),
            CommandKind::kBlockStatus);
  EXPECT_EQ(KindOf(static_cast<uint16_t>(Command::kDisconnect)),
            CommandKind::kUnknown);
  EXPECT_EQ(KindOf(uint16_t{99}), CommandKind::kUnknown);
  EXPECT_EQ(KindOf(Error::kShutdown), ErrorKind::kShutdown);
  EXPECT_EQ(KindOf(Error::kNotSupported), ErrorKind::kNotSupported);
}

}  // namespace
}  // namespace ramvol::nbd
