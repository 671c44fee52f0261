#include "csi/command.h"

#include <signal.h>
#include <sys/types.h>

#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

absl::Time Later() { return absl::Now() + absl::Minutes(1); }

TEST(SystemCommandsTest, BothOutputsAndTheExitCode) {
  SystemCommands commands;
  const auto result =
      commands.Run({"sh", "-c", "echo out; echo err >&2; exit 3"}, Later());
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->exit_code, 3);
  EXPECT_EQ(result->output, "out\nerr");
}

TEST(SystemCommandsTest, AFailureShowsWhatTheProgramSaid) {
  SystemCommands commands;
  EXPECT_THAT(
      commands.Output({"sh", "-c", "echo no such disk; exit 5"}, Later()),
      StatusIs(absl::StatusCode::kInternal,
               AllOf(HasSubstr("ended with 5"), HasSubstr("no such disk"))));
  EXPECT_THAT(
      commands.Output({"/no/such/program"}, Later()),
      StatusIs(absl::StatusCode::kInternal, HasSubstr("/no/such/program")));
}

TEST(SystemCommandsTest, TheDeadlineEndsAProgramAndItsChildren) {
  SystemCommands commands;
  EXPECT_THAT(commands.Run({"sh", "-c", "sleep 1000 & sleep 1000"},
                           absl::Now() + absl::Milliseconds(50)),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("took too long")));
}

TEST(SystemCommandsTest, LongOutputIsCut) {
  SystemCommands commands;
  const auto output =
      commands.Output({"sh", "-c", "yes | head -c 1000000"}, Later());
  ASSERT_THAT(output, IsOk());
  EXPECT_LE(output->size(), kMaxCommandOutputBytes);
}

TEST(SystemCommandsTest, ALogIsOfOneProgramThatIsThere) {
  SystemCommands commands;
  const std::string log = ::testing::TempDir() + "/command_test.log";
  EXPECT_FALSE(IsStarted(log));
  const Command program = {"sh", "-c", "echo $$; kill -STOP $$"};
  ASSERT_THAT(commands.Start(program, log, Later()), IsOk());
  EXPECT_TRUE(IsStarted(log));
  EXPECT_THAT(commands.Start(program, log, Later()),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(log)));
  pid_t pid = 0;
  while (!(std::ifstream(log) >> pid)) absl::SleepFor(absl::Milliseconds(5));
  kill(pid, SIGKILL);
  while (IsStarted(log)) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_THAT(commands.Start({"true"}, log, Later()), IsOk());
}

}  // namespace
}  // namespace ramvol::csi_driver
