// The program itself: flags, the ready line, signals, exit codes.
#include <signal.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/process.h"

namespace ramvol::nbd {
namespace {

using ::ramvol::testing::Process;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

// A running ramvol-nbd.
class RamvolNbd : public Process {
 public:
  explicit RamvolNbd(const std::vector<std::string>& flags,
                     const std::vector<std::string>& environment = {})
      : Process("nbd_bridge/ramvol-nbd", flags, environment) {}
};

TEST(RamvolNbdTest, ReadyLineNamesEveryAddressAndSignalsStopIt) {
  for (const int number : {SIGTERM, SIGINT}) {
    RamvolNbd bridge({"--listen=127.0.0.1:0,unix:nbd.sock",
                      "--metrics_listen=127.0.0.1:0",
                      "--server=unix:/nowhere"});
    EXPECT_THAT(bridge.ReadLine(),
                MatchesRegex("ramvol-nbd ready: nbd 127.0.0.1:[1-9][0-9]*, "
                             "unix:nbd.sock; server unix:/nowhere; metrics "
                             "http://127.0.0.1:[1-9][0-9]*/metrics"));
    bridge.Signal(number);
    EXPECT_EQ(bridge.RestOfOut(), "");
    EXPECT_EQ(bridge.ExitCode(), 0);
    EXPECT_NE(access("nbd.sock", F_OK), 0);
    EXPECT_THAT(bridge.Errors(), HasSubstr("stopped"));
  }
}

TEST(RamvolNbdTest, TheServerMayComeFromTheEnvironment) {
  RamvolNbd bridge({"--listen=127.0.0.1:0"}, {"RAMVOL_SERVER=unix:/elsewhere"});
  EXPECT_THAT(bridge.ReadLine(),
              MatchesRegex("ramvol-nbd ready: nbd 127.0.0.1:[1-9][0-9]*; "
                           "server unix:/elsewhere"));
}

TEST(RamvolNbdTest, AHostAloneIsMeantWithTheDefaultPort) {
  RamvolNbd bridge({"--listen=127.0.0.1:0", "--server=elsewhere.invalid"});
  EXPECT_THAT(bridge.ReadLine(), HasSubstr("server elsewhere.invalid:7420"));
}

TEST(RamvolNbdTest, SocketsMeantForAnotherProcessAreNotOurs) {
  RamvolNbd bridge({"--listen=systemd"}, {"LISTEN_PID=1", "LISTEN_FDS=1"});
  EXPECT_EQ(bridge.ExitCode(), 1);
  EXPECT_THAT(bridge.Errors(), HasSubstr("systemd"));
}

TEST(RamvolNbdTest, HelpNamesEveryFlag) {
  RamvolNbd bridge({"--help"});
  const std::string help = bridge.RestOfOut();
  EXPECT_EQ(bridge.ExitCode(), 0);
  for (const char* flag :
       {"--server", "--listen", "--metrics_listen", "--default_export",
        "--read_only", "--max_connections", "--reconnect_timeout", "--channels",
        "--drain_timeout"}) {
    EXPECT_THAT(help, HasSubstr(flag));
  }
}

TEST(RamvolNbdTest, BadFlagsAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"--listen=foo", "\"foo\""},
      {"--listen=192.0.2.1:80", "192.0.2.1:80"},
      {"--metrics_listen=unix:/x", "unix:/x"},
      {"--channels=17", "--channels is 17"},
      {"--reconnect_timeout=-1s", "--reconnect_timeout is -1s"},
      {"--drain_timeout=inf", "--drain_timeout is inf"},
      {"--max_connections=0", "max_connections"},
      {"--nonsense", "nonsense"},
      {"surplus", "\"surplus\""},
  };
  for (const auto& [flag, message] : cases) {
    std::vector<std::string> flags = {flag};
    if (std::string(flag).find("--listen") == std::string::npos) {
      flags.push_back("--listen=127.0.0.1:0");
    }
    RamvolNbd bridge(flags);
    EXPECT_THAT(bridge.Errors(), HasSubstr(message)) << flag;
    EXPECT_EQ(bridge.ExitCode(), 1) << flag;
  }
}

}  // namespace
}  // namespace ramvol::nbd
