#include "csi/command.h"

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "csi/wait_until.h"
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

// In place of one that waits in the kernel, which nobody can make without root:
// it leaves the process group that is killed.
Command Unkillable(const std::string& path, const std::string& then) {
  return {"/usr/bin/python3", "-c",
          "import os, time\n"
          "os.setpgid(0, os.getpgid(os.getppid()))\n" +
              then + "\ntime.sleep(1000)",
          path};
}

// Runs it until it is not killed in vain, before it has left.
std::string RunInVain(SystemCommands& commands, const Command& command) {
  for (int seconds = 1; seconds < 30; seconds *= 2) {
    const absl::Status status =
        commands.Run(command, absl::Now() + absl::Seconds(seconds)).status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded,
                                 HasSubstr("took too long")));
    const std::string text(status.message());
    if (text.find("goes on") != std::string::npos) return text;
  }
  ADD_FAILURE() << "it always ended";
  return "";
}

pid_t ProcessIn(const std::string& text) {
  pid_t pid = 0;
  const size_t found = text.find("process ");
  std::istringstream(text.substr(std::min(text.size(), found + 8))) >> pid;
  return pid;
}

TEST(SystemCommandsTest, AProgramThatDoesNotEndIsNotWaitedFor) {
  SystemCommands commands;
  const pid_t pid = ProcessIn(RunInVain(commands, Unkillable("/dev/disk", "")));
  ASSERT_GT(pid, 1);
  // Nothing is begun beside it that could get in its way.
  const Command next = {"echo", "/dev/disk"};
  EXPECT_THAT(commands.Run(next, Later()),
              StatusIs(absl::StatusCode::kAborted,
                       AllOf(HasSubstr("echo /dev/disk waits for"),
                             HasSubstr(absl::StrCat("process ", pid)))));
  EXPECT_THAT(commands.Output({"echo", "/dev/disk2"}, Later()), IsOk());
  kill(pid, SIGKILL);
  EXPECT_TRUE(
      WaitUntil(Later(), [&] { return commands.Run(next, Later()).ok(); }));
  EXPECT_EQ(waitpid(pid, nullptr, WNOHANG), -1);  // It is no zombie.
}

// As one that has written all, and whose exit waits for that to get there.
TEST(SystemCommandsTest, AnExitThatDoesNotEndIsNotWaitedFor) {
  SystemCommands commands;
  const pid_t pid = ProcessIn(
      RunInVain(commands, Unkillable("/dev/disk", "os.close(1); os.close(2)")));
  ASSERT_GT(pid, 1);
  kill(pid, SIGKILL);
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
