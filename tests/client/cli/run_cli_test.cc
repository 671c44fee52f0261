#include "client/cli/run_cli.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/output/v1/output.pb.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/client/cli/cli_harness.h"
#include "tests/client/cli/command_line_fixture.h"
#include "tests/client/fake_volume.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr int64_t kGiB = int64_t{1} << 30;

class RunCliTest : public CommandLineTest {};

TEST_F(RunCliTest, WrongUsageExitsWithTwo) {
  UsageErrorOf("");
  UsageErrorOf("frobnicate");
  UsageErrorOf("create");
  UsageErrorOf("create a");
  UsageErrorOf("create a 1G surplus");
  UsageErrorOf("create a 1G --no-such-flag");
  EXPECT_THAT(UsageErrorOf("ls --output=xml"),
              HasSubstr("\"xml\" is none of table, wide, name, json, yaml"));
  UsageErrorOf("ls --timeout=soon");
  UsageErrorOf("ls --timeout=0");
  UsageErrorOf("create a 1G --label novalue");
  UsageErrorOf("create a 1G --level x");
  UsageErrorOf("create a 1G --allocator=best");
  UsageErrorOf("help frobnicate");
  UsageErrorOf("completion tcsh");
  UsageErrorOf("set a --read-only=perhaps");
  EXPECT_THAT(UsageErrorOf("create a 10Q"),
              HasSubstr("\"10Q\" is not a size; write a number of bytes"));
}

TEST_F(RunCliTest, HelpAndVersionGoToStandardOutput) {
  for (const char* line : {"--help", "help", "-h"}) {
    const auto result = Run(line);
    EXPECT_EQ(result.exit_code, 0) << line;
    EXPECT_EQ(result.err, "") << line;
    for (const char* word :
         {"create",     "ls",     "show",     "stat",
          "set",        "resize", "rename",   "clients",
          "rm",         "read",   "write",    "trim",
          "import",     "export", "extents",  "uri",
          "qemu",       "attach", "detach",   "server",
          "completion", "help",   "--server", "RAMVOL_SERVER",
          "Exit codes"}) {
      EXPECT_THAT(result.out, HasSubstr(word)) << line;
    }
  }
  EXPECT_THAT(Run("create --help").out, HasSubstr("--merge-level"));
  EXPECT_THAT(Run("help create").out, HasSubstr("--merge-level"));
  EXPECT_THAT(Run("--version").out, StartsWith("ramvol 0."));
}

TEST_F(RunCliTest, WrongWordsAreNamedInOrderAndTheRightOnesSuggested) {
  EXPECT_EQ(UsageErrorOf("show a b c"),
            "ramvol: usage: unexpected arguments: b c; see \"ramvol show "
            "--help\" (USAGE)\n");
  EXPECT_EQ(UsageErrorOf("craete a 1G"),
            "ramvol: usage: there is no command \"craete\"; did you mean "
            "\"create\"? (USAGE)\n");
  EXPECT_THAT(UsageErrorOf("frobnicate a"),
              HasSubstr("no command \"frobnicate\"; \"ramvol help\" lists"));
  EXPECT_THAT(UsageErrorOf("help craete"), HasSubstr("mean \"create\"?"));
  EXPECT_EQ(UsageErrorOf("create a 1G --memroy-limit=1G"),
            "ramvol: usage: there is no flag --memroy-limit; did you mean "
            "\"--memory-limit\"? (USAGE)\n");
  EXPECT_THAT(UsageErrorOf("ls --outptu=json"), HasSubstr("\"--output\"?"));
  EXPECT_EQ(UsageErrorOf("create a 1G --level=x"),
            "ramvol: usage: --level: \"x\" is no whole number; see \"ramvol "
            "create --help\" (USAGE)\n");
  EXPECT_EQ(UsageErrorOf("ls --server"),
            "ramvol: usage: --server needs a value, ADDR; see \"ramvol ls "
            "--help\" (USAGE)\n");
  EXPECT_EQ(UsageErrorOf("create a"),
            "ramvol: usage: SIZE is required; see \"ramvol create --help\" "
            "(USAGE)\n");
  EXPECT_THAT(UsageErrorOf(""), HasSubstr("name a command"));
}

TEST_F(RunCliTest, AVolumeThatWasMeantIsSuggested) {
  Run("create scratch 1G");
  const auto missing = Run("show scartch");
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_EQ(missing.err,
            "ramvol: show: no volume is named \"scartch\"; did you mean "
            "\"scratch\"? (VOLUME_NOT_FOUND)\n");
  EXPECT_THAT(Run("show other").err, Not(HasSubstr("did you mean")));
}

TEST_F(RunCliTest, FlagsAreTakenInBothSpellings) {
  Run("create read_me 1G --memory_limit=1G --min_frame 8K --label=a_b=c_d");
  EXPECT_EQ(cli_.server().last_create.name(), "read_me");
  EXPECT_EQ(cli_.server().last_create.memory_limit_bytes(), kGiB);
  EXPECT_EQ(cli_.server().last_create.min_frame_bytes(), 8192);
  EXPECT_EQ(cli_.server().last_create.labels().at("a_b"), "c_d");
}

TEST_F(RunCliTest, CommandsHaveTheNamesThatPeopleTry) {
  Run("create a 1G");
  EXPECT_EQ(Run("list -q").out, "a\n");
  EXPECT_EQ(Run("delete a").exit_code, 0);
  EXPECT_FALSE(cli_.server().Has("a"));
  EXPECT_THAT(Run("help list").out, HasSubstr("--quiet"));
  const std::string version = Run("version").out;
  EXPECT_THAT(version, StartsWith("ramvol 0."));
  EXPECT_THAT(version, HasSubstr("\nramvold 9.8.7 at 127.0.0.1:7420\n"));
  cli_.server().set_failure(absl::UnavailableError("refused"));
  const auto alone = Run("version");
  EXPECT_EQ(alone.exit_code, 0);
  EXPECT_THAT(alone.out, Not(HasSubstr("ramvold")));
}

TEST_F(RunCliTest, AHostAloneIsMeantWithTheDefaultPort) {
  Run("ls --server=box");
  EXPECT_EQ(cli_.options().server, "box:7420");
  cli_.env()["RAMVOL_SERVER"] = "::1";
  Run("ls");
  EXPECT_EQ(cli_.options().server, "[::1]:7420");
}

TEST_F(RunCliTest, ServerComesFromFlagThenEnvironmentThenDefault) {
  Run("ls");
  EXPECT_EQ(cli_.options().server, "127.0.0.1:7420");
  cli_.env()["RAMVOL_SERVER"] = "unix:/run/a";
  Run("ls");
  EXPECT_EQ(cli_.options().server, "unix:/run/a");
  Run("ls --server b:1");
  EXPECT_EQ(cli_.options().server, "b:1");
}

TEST_F(RunCliTest, ControlCommandsDoNotWaitForAServer) {
  Run("ls");
  EXPECT_EQ(cli_.options().reconnect_timeout, absl::ZeroDuration());
}

TEST_F(RunCliTest, VolumesMayBeNamedLikeCommands) {
  EXPECT_EQ(Run("create create 1G").exit_code, 0);
  EXPECT_EQ(Run("rm create").exit_code, 0);
  EXPECT_FALSE(cli_.server().Has("create"));
}

TEST_F(RunCliTest, OutputIsChosenAsWithKubectl) {
  Run("create a 1G");
  EXPECT_EQ(Run("create b 2G -o name").out, "b\n");
  EXPECT_EQ(Run("ls -o name").out, "a\nb\n");
  EXPECT_EQ(Run("show a -o name").out, "a\n");
  EXPECT_THAT(Run("ls -o wide").out,
              AllOf(HasSubstr("MEMORY"), HasSubstr("EXPIRES")));
  EXPECT_THAT(
      Run("show a -o yaml").out,
      AllOf(HasSubstr("name: a\n"), HasSubstr("sizeBytes: \"1073741824\"\n")));
  EXPECT_THAT(Run("extents a --length=8K -o yaml").out,
              AllOf(StartsWith("extents:\n  - hole: true\n"),
                    HasSubstr("extentCount: \"1\"\n")));
  UsageErrorOf("server -o name");
  UsageErrorOf("extents a -o name");
}

TEST_F(RunCliTest, JsonHasItsSchema) {
  FakeVolume& volume = cli_.AddVolume("a", 1 << 20);
  volume.Fill(8192, "x");
  cli_.server().nbd_addresses = {"unix:/run/nbd"};
  const std::string file = TempPath("schema");
  const auto run = [this](std::vector<std::string> words) {
    words.push_back("--output=json");
    const auto result = cli_.Run(words);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  };
  using output::v1::ExtentsOutput;
  EXPECT_EQ(FromJson<v1::Volume>(run({"create", "b", "1G"})).name(), "b");
  EXPECT_EQ(FromJson<v1::Volume>(run({"show", "b"})).size_bytes(), kGiB);
  EXPECT_EQ(FromJson<v1::Volume>(run({"set", "b", "--level=2"})).zstd_level(),
            2);
  EXPECT_EQ(FromJson<v1::Volume>(run({"resize", "b", "2G"})).size_bytes(),
            2 * kGiB);
  EXPECT_EQ(FromJson<v1::Volume>(run({"rename", "b", "c"})).name(), "c");
  EXPECT_EQ(FromJson<v1::Volume>(run({"rename", "c", "b"})).name(), "b");
  EXPECT_EQ(FromJson<v1::VolumeStats>(run({"stat", "b"})).size_bytes(),
            2 * kGiB);
  EXPECT_EQ(FromJson<v1::GetServerInfoResponse>(run({"server"})).version(),
            "9.8.7");
  EXPECT_EQ(FromJson<output::v1::HealthOutput>(run({"health"})).status(),
            "SERVING");
  EXPECT_EQ(FromJson<output::v1::VersionOutput>(run({"version"})).server(),
            "9.8.7");
  const auto list = FromJson<output::v1::ListOutput>(run({"ls", "-l"}));
  EXPECT_EQ(list.volumes_size(), 2);
  EXPECT_EQ(list.stats().at("a").size_bytes(), 1 << 20);
  EXPECT_EQ(FromJson<output::v1::ListOutput>(run({"ls"})).stats_size(), 0);
  EXPECT_EQ(FromJson<ExtentsOutput>(run({"extents", "a"})).extents_size(), 3);
  EXPECT_EQ(
      FromJson<ExtentsOutput>(run({"extents", "a", "--totals"})).extent_count(),
      3);
  EXPECT_EQ(FromJson<output::v1::ExportOutput>(run({"export", "a", file}))
                .size_bytes(),
            1 << 20);
  EXPECT_TRUE(
      FromJson<output::v1::ImportOutput>(run({"import", file, "c"})).created());
  EXPECT_THAT(FromJson<output::v1::UriOutput>(run({"uri", "a"})).uri(),
              HasSubstr("a"));
  EXPECT_THAT(FromJson<output::v1::QemuOutput>(run({"qemu", "a"})).arguments(),
              HasSubstr("-blockdev"));
  EXPECT_THAT(
      FromJson<output::v1::RemoveOutput>(run({"rm", "b", "c"})).removed(),
      ElementsAre("b", "c"));
}

TEST_F(RunCliTest, ErrorsAreJsonToo) {
  const auto missing = Run("show nothing --output=json");
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_EQ(missing.out, "");
  EXPECT_EQ(missing.err.find('\n'), missing.err.size() - 1);
  const auto error = FromJson<output::v1::ErrorOutput>(missing.err).error();
  EXPECT_EQ(error.command(), "show");
  EXPECT_EQ(error.code(), "NOT_FOUND");
  EXPECT_EQ(error.reason(), "VOLUME_NOT_FOUND");
  EXPECT_THAT(error.message(), HasSubstr("\"nothing\""));
  EXPECT_EQ(error.metadata().at("volume"), "nothing");
  for (const char* line :
       {"show -o json", "-o json show", "show --output yaml",
        "-ojson frobnicate", "show a --output=json --no-such-flag"}) {
    const auto usage = Run(line);
    EXPECT_EQ(usage.exit_code, 2) << line;
    EXPECT_EQ(FromJson<output::v1::ErrorOutput>(usage.err).error().reason(),
              "USAGE")
        << line;
  }
}

TEST_F(RunCliTest, ErrorsOfTheServerHaveTheirExitCodes) {
  Run("create a 1G");
  const auto exists = Run("create a 1G");
  EXPECT_EQ(exists.exit_code, 4);
  EXPECT_EQ(exists.err,
            "ramvol: create: volume \"a\" exists (VOLUME_EXISTS)\n");
  EXPECT_EQ(exists.out, "");
  const auto missing = Run("stat b");
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_EQ(missing.err,
            "ramvol: stat: no volume is named \"b\" (VOLUME_NOT_FOUND)\n");
  cli_.server().set_failure(WithReason(absl::ResourceExhaustedError("full"),
                                       reason::kServerMemoryLimit));
  EXPECT_EQ(Run("create c 1G --allocator=malloc").exit_code, 6);
  cli_.server().set_failure(absl::UnavailableError("refused"));
  const auto unreachable = Run("--server localhost:1 ls");
  EXPECT_EQ(unreachable.exit_code, 5);
  EXPECT_THAT(unreachable.err,
              AllOf(HasSubstr("no server answers at localhost:1"),
                    HasSubstr("ramvold --listen=localhost:1")));
}

}  // namespace
}  // namespace ramvol::cli
