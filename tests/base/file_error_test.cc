#include "base/file_error.h"

#include <cerrno>

#include "absl/status/status.h"
#include "base/reason.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol {
namespace {

using ::ramvol::testing::HasReason;

TEST(FileErrorTest, SaysWhatFailedAndWhy) {
  const absl::Status status = FileError(ENOSPC, "cannot write disk.img");
  EXPECT_EQ(status.message(), "cannot write disk.img: No space left on device");
  // Not RESOURCE_EXHAUSTED, which means that the server is full.
  EXPECT_THAT(status, HasReason(absl::StatusCode::kUnknown, "ENOSPC"));
}

TEST(FileErrorTest, AnUnknownErrnoHasAReasonToo) {
  EXPECT_EQ(GetReason(FileError(4095, "x")), "ERRNO_4095");
}

TEST(FileErrorTest, KnowsABrokenPipe) {
  EXPECT_TRUE(IsBrokenPipe(FileError(EPIPE, "cannot write")));
  EXPECT_FALSE(IsBrokenPipe(FileError(EIO, "cannot write")));
  EXPECT_FALSE(
      IsBrokenPipe(WithReason(absl::UnavailableError("gone"), "EPIPE")));
  EXPECT_FALSE(IsBrokenPipe(absl::OkStatus()));
}

TEST(FileErrorTest, ASignalCancels) {
  EXPECT_THAT(InterruptedError(),
              HasReason(absl::StatusCode::kCancelled, "INTERRUPTED"));
}

}  // namespace
}  // namespace ramvol
