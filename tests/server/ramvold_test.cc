// The program itself: flags, the ready line, signals, exit codes.
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/engine/support/shm_dir.h"
#include "tests/support/process.h"

namespace ramvol {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

using ::ramvol::testing::Process;

// Flags that keep off the default ports; the same flag given later wins.
std::vector<std::string> WithFreePorts(const std::vector<std::string>& flags) {
  std::vector<std::string> all = {"--listen=127.0.0.1:0",
                                  "--metrics_listen=127.0.0.1:0"};
  all.insert(all.end(), flags.begin(), flags.end());
  return all;
}

// A running ramvold, on free ports unless `flags` say otherwise.
class Ramvold : public Process {
 public:
  explicit Ramvold(const std::vector<std::string>& flags)
      : Process("server/ramvold", WithFreePorts(flags)) {}
};

TEST(RamvoldTest, ReadyLineNamesEveryAddressAndSignalsStopIt) {
  for (const int number : {SIGTERM, SIGINT}) {
    ASSERT_EQ(unlink("ready.sock") == 0 || errno == ENOENT, true);
    Ramvold ramvold(
        {"--listen=127.0.0.1:0,unix:ready.sock", "--memory_limit=64M"});
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

TEST(RamvoldTest, SignalsThatMeanNothingEndNothing) {
  for (const int number : {SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGPIPE}) {
    Ramvold ramvold(
        {"--listen=127.0.0.1:0", "--metrics_listen=", "--memory_limit=64M"});
    ramvold.ReadLine();
    ramvold.Signal(number);
    ramvold.Signal(SIGTERM);
    EXPECT_EQ(ramvold.RestOfOut(), "");
    const std::string log = ramvold.Errors();
    EXPECT_EQ(ramvold.ExitCode(), 0) << number;
    EXPECT_THAT(log, HasSubstr("stopped"));
    if (number != SIGPIPE) {
      EXPECT_THAT(log, HasSubstr("got signal " + std::to_string(number)));
    }
  }
}

TEST(RamvoldTest, MetricsCanBeOff) {
  Ramvold ramvold({"--metrics_listen="});
  EXPECT_THAT(ramvold.ReadLine(), Not(HasSubstr("metrics")));
}

TEST(RamvoldTest, HelpNamesEveryFlag) {
  Ramvold ramvold({"--help"});
  const std::string help = ramvold.RestOfOut();
  EXPECT_EQ(ramvold.ExitCode(), 0);
  for (const char* flag :
       {"--listen", "--metrics_listen", "--metrics_max_volumes",
        "--memory_limit", "--hot_cache", "--background_threads",
        "--max_volumes", "--state_dir", "--volumes_file", "--drain_timeout"}) {
    EXPECT_THAT(help, HasSubstr(flag));
  }
}

TEST(RamvoldTest, VersionIsPrinted) {
  Ramvold ramvold({"--version"});
  EXPECT_THAT(ramvold.RestOfOut(), HasSubstr("ramvold 0."));
  EXPECT_EQ(ramvold.ExitCode(), 0);
}

TEST(RamvoldTest, FlagsAreTakenInBothSpellings) {
  Ramvold ramvold({"--memory-limit=64M", "--metrics-listen", ""});
  EXPECT_THAT(ramvold.ReadLine(), Not(HasSubstr("metrics")));
  ramvold.Signal(SIGTERM);
  EXPECT_EQ(ramvold.ExitCode(), 0);
  EXPECT_THAT(ramvold.Errors(), HasSubstr("memory limit 64 MiB"));
}

TEST(RamvoldTest, BadFlagsAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"--memory_limit=1Q", "\"1Q\" is not a size"},
      {"--memory_limit=1M", "memory_limit"},
      {"--listen=foo", "\"foo\""},
      {"--listen=192.0.2.1:80", "192.0.2.1:80"},
      {"--listen=unix:/nonexistent/x", "/nonexistent/x"},
      {"--metrics_listen=foo", "\"foo\""},
      {"--merge_interval=2h", "--merge_interval is 2h"},
      {"--metrics_max_volumes=-1", "--metrics_max_volumes is -1"},
      {"--drain_timeout=-1s", "--drain_timeout is -1s"},
      {"--drain_timeout=inf", "--drain_timeout is inf"},
      {"--volumes_file=/nonexistent", "cannot read /nonexistent"},
      {"--nonsense", "nonsense"},
      {"surplus", "\"surplus\""},
  };
  for (const auto& [flag, message] : cases) {
    Ramvold ramvold({flag});
    EXPECT_THAT(ramvold.Errors(), HasSubstr(message)) << flag;
    EXPECT_EQ(ramvold.ExitCode(), 1) << flag;
  }
}

TEST(RamvoldTest, VolumesOfTheFileExistAtTheReadyLine) {
  const std::string path =
      std::string(std::getenv("TEST_TMPDIR")) + "/volumes.textproto";
  std::ofstream(path) << "volumes { name: \"a\" size_bytes: 4096 }\n";
  Ramvold ramvold({"--memory_limit=64M", "--volumes_file=" + path});
  EXPECT_THAT(ramvold.ReadLine(), HasSubstr("ramvold ready: "));
  ramvold.Signal(SIGTERM);
  EXPECT_EQ(ramvold.ExitCode(), 0);

  std::ofstream(path, std::ios::app) << "volumes { name: \"B\" }\n";
  Ramvold refusing({"--memory_limit=64M", "--volumes_file=" + path});
  EXPECT_EQ(refusing.RestOfOut(), "");
  EXPECT_THAT(refusing.Errors(),
              HasSubstr(path + ":2:1: entry 2 (\"B\"): volume name"));
  EXPECT_EQ(refusing.ExitCode(), 1);
}

TEST(RamvoldTest, VolumesOfTheStateDirOutliveIt) {
  const engine::ShmDir dir;
  const std::string path =
      std::string(std::getenv("TEST_TMPDIR")) + "/volumes.textproto";
  std::ofstream(path) << "volumes { name: \"a\" size_bytes: 4096 }\n";
  const std::vector<std::string> flags = {"--memory_limit=64M",
                                          "--volumes_file=" + path,
                                          "--state_dir=" + dir.path()};
  for (const int number : {SIGTERM, SIGKILL, SIGTERM}) {
    Ramvold ramvold(flags);
    EXPECT_THAT(ramvold.ReadLine(), HasSubstr("ramvold ready: "));
    if (number == SIGKILL) {  // Once: it waits for some seconds.
      Ramvold second(flags);
      EXPECT_THAT(second.Errors(),
                  HasSubstr("another ramvold uses " + dir.path()));
      EXPECT_EQ(second.ExitCode(), 3);
    }
    ramvold.Signal(number);
    const std::string log = ramvold.Errors();
    EXPECT_EQ(ramvold.ExitCode(), number == SIGTERM ? 0 : -1);
    if (number == SIGKILL) {
      EXPECT_THAT(log, HasSubstr("info recovered count=1: 1 volumes and "
                                 "snapshots from " +
                                 dir.path() + " in "));
    }
  }
  // What it cannot go on with stays as it is.
  std::fstream arena(dir.path() + "/arena",
                     std::ios::in | std::ios::out | std::ios::binary);
  arena << "another" << std::flush;
  Ramvold refusing(flags);
  EXPECT_THAT(refusing.Errors(), HasSubstr(dir.path()));
  EXPECT_EQ(refusing.ExitCode(), 3);
}

TEST(RamvoldTest, AStateDirIsOnATmpfs) {
  Ramvold ramvold({"--memory_limit=64M", "--state_dir=/sys"});
  EXPECT_THAT(ramvold.Errors(), HasSubstr("/sys is not on a tmpfs"));
  EXPECT_EQ(ramvold.ExitCode(), 3);
}

}  // namespace
}  // namespace ramvol
