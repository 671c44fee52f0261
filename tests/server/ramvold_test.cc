// The program itself: flags, the ready line, signals, exit codes.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

extern char** environ;

namespace ramvol {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

// A running ramvold, with both of its outputs in pipes.
class Process {
 public:
  explicit Process(const std::vector<std::string>& flags) {
    std::vector<char*> argv;
    std::string program = "server/ramvold";
    argv.push_back(program.data());
    std::vector<std::string> copies = flags;
    for (std::string& flag : copies) argv.push_back(flag.data());
    argv.push_back(nullptr);
    int out[2];
    int err[2];
    EXPECT_EQ(pipe2(out, O_CLOEXEC), 0);
    EXPECT_EQ(pipe2(err, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
    EXPECT_EQ(posix_spawn(&pid_, program.c_str(), &actions, nullptr,
                          argv.data(), environ),
              0);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    close(err[1]);
    out_ = out[0];
    err_ = err[0];
  }
  ~Process() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(out_);
    close(err_);
  }

  std::string ReadLine() {
    std::string line;
    char c = 0;
    while (read(out_, &c, 1) == 1 && c != '\n') line += c;
    return line;
  }
  void Signal(int number) { kill(pid_, number); }
  // Waits for the end; -1 when a signal ended it.
  int ExitCode() {
    int status = 0;
    waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string RestOfOut() { return ReadAll(out_); }
  std::string Errors() { return ReadAll(err_); }

 private:
  static std::string ReadAll(int fd) {
    std::string all;
    char buffer[4096];
    ssize_t n = 0;
    while ((n = read(fd, buffer, sizeof(buffer))) > 0) {
      all.append(buffer, static_cast<size_t>(n));
    }
    return all;
  }

  pid_t pid_ = -1;
  int out_ = -1;
  int err_ = -1;
};

TEST(RamvoldTest, ReadyLineNamesEveryAddressAndSignalsStopIt) {
  for (const int number : {SIGTERM, SIGINT}) {
    ASSERT_EQ(unlink("ready.sock") == 0 || errno == ENOENT, true);
    Process ramvold({"--listen=127.0.0.1:0,unix:ready.sock",
                     "--metrics_listen=127.0.0.1:0", "--memory_limit=64M"});
    EXPECT_THAT(ramvold.ReadLine(),
                MatchesRegex("ramvold ready: grpc 127.0.0.1:[1-9][0-9]*, "
                             "unix:ready.sock; metrics "
                             "http://127.0.0.1:[1-9][0-9]*/metrics"));
    ramvold.Signal(number);
    EXPECT_EQ(ramvold.RestOfOut(), "");
    EXPECT_EQ(ramvold.ExitCode(), 0);
    EXPECT_NE(access("ready.sock", F_OK), 0);
    EXPECT_THAT(ramvold.Errors(), HasSubstr("stopped"));
  }
}

TEST(RamvoldTest, MetricsCanBeOff) {
  Process ramvold({"--listen=127.0.0.1:0", "--metrics_listen="});
  EXPECT_THAT(ramvold.ReadLine(), Not(HasSubstr("metrics")));
}

TEST(RamvoldTest, HelpNamesEveryFlag) {
  Process ramvold({"--help"});
  const std::string help = ramvold.RestOfOut();
  EXPECT_EQ(ramvold.ExitCode(), 0);
  for (const char* flag :
       {"--listen", "--metrics_listen", "--memory_limit", "--hot_cache",
        "--background_threads", "--max_volumes", "--drain_timeout"}) {
    EXPECT_THAT(help, HasSubstr(flag));
  }
}

TEST(RamvoldTest, VersionIsPrinted) {
  Process ramvold({"--version"});
  EXPECT_THAT(ramvold.RestOfOut(), HasSubstr("ramvold 0."));
  EXPECT_EQ(ramvold.ExitCode(), 0);
}

TEST(RamvoldTest, BadFlagsAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"--memory_limit=1Q", "\"1Q\" is not a size"},
      {"--memory_limit=1M", "memory_limit"},
      {"--listen=foo", "\"foo\""},
      {"--listen=192.0.2.1:80", "192.0.2.1:80"},
      {"--listen=unix:/nonexistent/x", "/nonexistent/x"},
      {"--metrics_listen=foo", "\"foo\""},
      {"--drain_timeout=-1s", "--drain_timeout is -1s"},
      {"--drain_timeout=inf", "--drain_timeout is inf"},
      {"--nonsense", "nonsense"},
      {"surplus", "\"surplus\""},
  };
  for (const auto& [flag, message] : cases) {
    Process ramvold({flag});
    EXPECT_THAT(ramvold.Errors(), HasSubstr(message)) << flag;
    EXPECT_EQ(ramvold.ExitCode(), 1) << flag;
  }
}

}  // namespace
}  // namespace ramvol
