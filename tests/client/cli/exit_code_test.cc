#include "client/cli/exit_code.h"

#include <cerrno>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/file_error.h"
#include "client/cli/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::cli {
namespace {

using ::testing::HasSubstr;

// Scripts match these numbers.
TEST(ExitCodeTest, OfEachOutcome) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), 1);
  EXPECT_EQ(ExitCodeOf(absl::OutOfRangeError("")), 1);
  EXPECT_EQ(ExitCodeOf(UsageError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("")), 3);
  EXPECT_EQ(ExitCodeOf(absl::AlreadyExistsError("")), 4);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), 5);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("")), 5);
  EXPECT_EQ(ExitCodeOf(absl::ResourceExhaustedError("")), 6);
  EXPECT_EQ(ExitCodeOf(InterruptedError()), 130);
}

// The server refused what the user wrote: the command line was right.
TEST(ExitCodeTest, ARefusedArgumentIsNoWrongUsage) {
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), 1);
}

TEST(ExitCodeTest, AMissingOrFullFileIsNoMissingVolumeOrFullServer) {
  EXPECT_EQ(ExitCodeOf(FileError(ENOENT, "cannot open x")), 1);
  EXPECT_EQ(ExitCodeOf(FileError(ENOSPC, "cannot write x")), 1);
}

TEST(ExitCodeTest, HelpHasEachCode) {
  for (const int code : {0, 1, 2, 3, 4, 5, 6, 130}) {
    EXPECT_THAT(std::string(kExitCodeHelp),
                HasSubstr(absl::StrCat("\n  ", code, " ")));
  }
}

}  // namespace
}  // namespace ramvol::cli
