#include "client/cli/commands/snapshot_commands.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/client/cli/cli_harness.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class SnapshotCommandsTest : public ::testing::Test {
 protected:
  SnapshotCommandsTest() {
    cli_.AddVolume("data", 4096);
    cli_.AddVolume("log", 4096);
  }

  CliHarness::Result Create(std::vector<std::string> words) {
    words.insert(words.begin(), {"snapshot", "create"});
    return cli_.Run(words);
  }
  // "data@x log@", the snapshots that the server was asked for last.
  std::string Asked() {
    std::string asked;
    for (const auto& one : cli_.server().last_snapshots.snapshots()) {
      if (!asked.empty()) asked += ' ';
      asked += one.volume() + "@" + one.name();
    }
    return asked;
  }

  CliHarness cli_;
};

TEST_F(SnapshotCommandsTest, OneIsTakenWithOrWithoutAName) {
  EXPECT_EQ(Create({"data", "monday", "-o", "name"}).out, "@monday\n");
  EXPECT_EQ(Asked(), "data@monday");
  EXPECT_EQ(Create({"data", "-o", "name"}).out, "@chosen\n");
  EXPECT_EQ(Asked(), "data@");
  EXPECT_EQ(Create({"data@monday", "-o", "name"}).out, "@monday\n");
  EXPECT_EQ(Asked(), "data@monday");
  EXPECT_THAT(Create({"data", "@monday", "-o", "json"}).out,
              HasSubstr("\"name\": \"@monday\""));
}

TEST_F(SnapshotCommandsTest, SeveralAreTakenByOneCall) {
  const auto made = Create({"data@d", "log@l", "--label=team=x"});
  EXPECT_EQ(made.exit_code, 0) << made.err;
  EXPECT_THAT(made.out, AllOf(HasSubstr("NAME"), HasSubstr("d"),
                              HasSubstr("data"), HasSubstr("log")));
  EXPECT_EQ(Asked(), "data@d log@l");
  for (const auto& one : cli_.server().last_snapshots.snapshots()) {
    EXPECT_EQ(one.labels().at("team"), "x");
  }
  EXPECT_EQ(Create({"data@", "log@l", "-o", "name"}).out, "@chosen\n@l\n");
  EXPECT_EQ(Asked(), "data@ log@l");
  EXPECT_THAT(Create({"data@d", "log@l", "-o", "json"}).out,
              HasSubstr("\"snapshots\": ["));
  EXPECT_EQ(Create({"data@d", "nothing@l"}).exit_code, 3);
}

TEST_F(SnapshotCommandsTest, PlainNamesOfSeveralAreRefused) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"data", "log", "x"},
        {"data@d", "log"},
        {"data@d", "@l"},
        {"log", "data@d"}}) {
    const auto refused = Create(words);
    EXPECT_EQ(refused.exit_code, 2) << words[1];
    EXPECT_THAT(refused.err, HasSubstr("VOLUME@NAME"));
  }
  EXPECT_EQ(Create({}).exit_code, 2);
  EXPECT_EQ(Asked(), "");
}

}  // namespace
}  // namespace ramvol::cli
