#include "client/cli/errors.h"

#include <cerrno>

#include "absl/status/status.h"
#include "base/file_error.h"
#include "base/reason.h"
#include "client/cli/exit_code.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ErrorsTest, ShowsCommandMessageAndReason) {
  const absl::Status status = WithReason(absl::NotFoundError("no volume \"a\""),
                                         reason::kVolumeNotFound);
  EXPECT_EQ(FormatError("stat", status, "x:1"),
            "ramvol: stat: no volume \"a\" (VOLUME_NOT_FOUND)\n");
}

TEST(ErrorsTest, UsesTheCodeWithoutReason) {
  EXPECT_EQ(FormatError("ls", absl::InternalError("oops"), "x:1"),
            "ramvol: ls: oops (INTERNAL)\n");
}

TEST(ErrorsTest, UnreachableServerIsNamedWithTheWayToStartOne) {
  EXPECT_THAT(FormatError("ls", absl::UnavailableError("Connection refused"),
                          "unix:/run/x.sock"),
              AllOf(HasSubstr("no server answers at unix:/run/x.sock"),
                    HasSubstr("Connection refused"),
                    HasSubstr("ramvold --listen=unix:/run/x.sock"),
                    HasSubstr("RAMVOL_SERVER")));
}

TEST(ErrorsTest, ServerThatShutsDownIsNotUnreachable) {
  const absl::Status status =
      WithReason(absl::UnavailableError("draining"), reason::kShuttingDown);
  EXPECT_EQ(FormatError("ls", status, "x:1"),
            "ramvol: ls: draining (SHUTTING_DOWN)\n");
}

TEST(ErrorsTest, AnnotateKeepsCodeAndReason) {
  const absl::Status status = Annotate(
      WithReason(absl::DataLossError("bad"), reason::kCorruptFrame), "context");
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(status.message(), "context: bad");
  EXPECT_EQ(GetReason(status), "CORRUPT_FRAME");
  EXPECT_TRUE(Annotate(absl::OkStatus(), "context").ok());
}

TEST(ErrorsTest, FileErrorsAreNeverTakenForTheServers) {
  const absl::Status missing = FileError(ENOENT, "cannot open a");
  EXPECT_EQ(missing.message(), "cannot open a: No such file or directory");
  EXPECT_EQ(GetReason(missing), "ENOENT");
  EXPECT_EQ(ExitCodeOf(missing), kExitFailed);
  EXPECT_EQ(ExitCodeOf(FileError(ENOSPC, "full")), kExitFailed);
  EXPECT_TRUE(IsBrokenPipe(FileError(EPIPE, "gone")));
  EXPECT_FALSE(IsBrokenPipe(missing));
}

TEST(ErrorsTest, ExitCodesAreStable) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), 1);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), 1);
  EXPECT_EQ(ExitCodeOf(UsageError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("")), 3);
  EXPECT_EQ(ExitCodeOf(absl::AlreadyExistsError("")), 4);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), 5);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("")), 5);
  EXPECT_EQ(ExitCodeOf(absl::ResourceExhaustedError("")), 6);
  EXPECT_EQ(ExitCodeOf(InterruptedError()), 130);
}

}  // namespace
}  // namespace ramvol::cli
