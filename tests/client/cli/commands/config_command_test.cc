#include "client/cli/commands/config_command.h"

#include <fstream>
#include <iterator>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/client_config.pb.h"
#include "tests/client/cli/command_line_fixture.h"
#include "tests/support/temp_dir.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ConfigCommandTest : public CommandLineTest {
 protected:
  ConfigCommandTest() {
    cli_.env()["HOME"] = dir_;
    for (const char* file : {"ca", "crt", "key", "token"}) {
      std::ofstream(dir_ + "/" + file) << "x";
    }
  }

  std::string Out(const std::string& line) {
    const auto result = Run(line);
    EXPECT_EQ(result.exit_code, 0) << line << ": " << result.err;
    return result.out;
  }
  std::string Content() const {
    std::ifstream file(dir_ + "/.config/ramvol/config.textproto");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void MakeEast() {
    Out("--server=east:1 --tls-ca=" + dir_ + "/ca --token-file=" + dir_ +
        "/token config set-context east");
  }

  const testing::TempDir temp_;
  const std::string dir_ = temp_.path();
};

TEST_F(ConfigCommandTest, ContextsAreMadeChosenAndRemoved) {
  EXPECT_EQ(Out("config get-contexts"), "CURRENT  NAME  SERVER  TLS\n");
  MakeEast();
  EXPECT_THAT(Content(), AllOf(StartsWith("# proto-file: "),
                               HasSubstr("server: \"east:1\"")));
  EXPECT_EQ(Out("config set-context west --server=west"),
            "made context \"west\"\n");
  EXPECT_EQ(Out("config use-context east"), "switched to context \"east\"\n");
  EXPECT_EQ(Out("config current-context"), "east\n");
  EXPECT_EQ(Out("config get-contexts"),
            "CURRENT  NAME  SERVER     TLS\n"
            "*        east  east:1     yes\n"
            "         west  west:7420  no\n");
  EXPECT_EQ(Out("config get-contexts -o name"), "east\nwest\n");
  const auto config =
      FromJson<v1::ClientConfig>(Out("config view --output=json"));
  EXPECT_EQ(config.contexts_size(), 2);
  EXPECT_EQ(config.contexts(0).token_file(), dir_ + "/token");
  Out("config delete-context east");
  EXPECT_EQ(Run("config current-context").exit_code, 2);
}

TEST_F(ConfigCommandTest, TheCurrentContextCountsWhenNoServerIsGiven) {
  MakeEast();
  Out("ls");
  EXPECT_EQ(cli_.options().server, "127.0.0.1:7420");
  Out("config use-context east");
  Out("ls");
  EXPECT_EQ(cli_.options().server, "east:1");
  EXPECT_EQ(cli_.options().tls_ca, dir_ + "/ca");
  EXPECT_EQ(cli_.options().token_file, dir_ + "/token");
}

TEST_F(ConfigCommandTest, NoServerGetsTheTokenOfAnother) {
  MakeEast();
  Out("config use-context east");
  Out("ls --server=other:1");
  EXPECT_EQ(cli_.options().server, "other:1");
  EXPECT_EQ(cli_.options().tls_ca, "");
  EXPECT_EQ(cli_.options().token_file, "");
  cli_.env()["RAMVOL_SERVER"] = "env:1";
  Out("ls");
  EXPECT_EQ(cli_.options().server, "env:1");
  EXPECT_EQ(cli_.options().token_file, "");
}

TEST_F(ConfigCommandTest, ANamedContextGoesBeforeTheEnvironment) {
  MakeEast();
  cli_.env()["RAMVOL_SERVER"] = "env:1";
  Out("ls --context=east");
  EXPECT_EQ(cli_.options().server, "east:1");
  cli_.env()["RAMVOL_CONTEXT"] = "east";
  Out("ls");
  EXPECT_EQ(cli_.options().server, "east:1");
  Out("ls --server=tunnel:1");
  EXPECT_EQ(cli_.options().server, "tunnel:1");
  EXPECT_EQ(cli_.options().token_file, dir_ + "/token");
}

TEST_F(ConfigCommandTest, TheEnvironmentHasCredentialsToo) {
  cli_.env()["RAMVOL_TLS_CA"] = dir_ + "/ca";
  cli_.env()["RAMVOL_TLS_CERT"] = dir_ + "/crt";
  cli_.env()["RAMVOL_TLS_KEY"] = dir_ + "/key";
  Out("ls --tls-key=" + dir_ + "/token");
  EXPECT_EQ(cli_.options().tls_ca, dir_ + "/ca");
  EXPECT_EQ(cli_.options().tls_cert, dir_ + "/crt");
  EXPECT_EQ(cli_.options().tls_key, dir_ + "/token");
}

TEST_F(ConfigCommandTest, ErrorsSayWhatToDo) {
  EXPECT_THAT(UsageErrorOf("ls --context=none"), HasSubstr("set-context"));
  MakeEast();
  EXPECT_THAT(UsageErrorOf("ls --context=none"), HasSubstr("there are east"));
  EXPECT_THAT(UsageErrorOf("config use-context none"),
              HasSubstr("get-contexts"));
  EXPECT_THAT(UsageErrorOf("config use-context"),
              HasSubstr("\"ramvol config use-context NAME\""));
  EXPECT_THAT(UsageErrorOf("config set-context bare"), HasSubstr("--server"));
  EXPECT_THAT(UsageErrorOf("ls --tls-cert=x"), HasSubstr("go together"));
  EXPECT_THAT(UsageErrorOf("ls --tls-ca=/none"), HasSubstr("cannot be read"));
  std::ofstream(dir_ + "/.config/ramvol/config.textproto") << "contexts: 1";
  EXPECT_THAT(UsageErrorOf("ls"), HasSubstr("config.textproto:1:11: "));
  cli_.env()["RAMVOL_CONFIG"] = dir_;
  EXPECT_THAT(UsageErrorOf("ls"), HasSubstr(dir_ + ": Is a directory"));
}

}  // namespace
}  // namespace ramvol::cli
