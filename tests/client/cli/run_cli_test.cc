#include "client/cli/run_cli.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "ramvol/output/v1/output.pb.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/client/cli/cli_harness.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr int64_t kGiB = int64_t{1} << 30;

class RunCliTest : public ::testing::Test {
 protected:
  // Words apart by spaces.
  CliHarness::Result Run(const std::string& line) {
    std::vector<std::string> words;
    std::string word;
    for (const char c : line + " ") {
      if (c != ' ') {
        word += c;
      } else if (!word.empty()) {
        words.push_back(word);
        word.clear();
      }
    }
    return cli_.Run(words);
  }
  // The line must be refused as wrong usage, and say so.
  std::string UsageErrorOf(const std::string& line) {
    const auto result = Run(line);
    EXPECT_EQ(result.exit_code, 2) << line;
    EXPECT_EQ(result.out, "") << line;
    EXPECT_THAT(result.err, StartsWith("ramvol: ")) << line;
    EXPECT_THAT(result.err, HasSubstr("(USAGE)")) << line;
    return result.err;
  }

  CliHarness cli_;
};

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

v1::Event MakeEvent(const std::string& type, const std::string& volume,
                    const std::string& uid) {
  v1::Event event;
  event.mutable_time()->set_seconds(1'700'000'000);
  event.set_type(type);
  event.set_volume(volume);
  event.set_uid(uid);
  return event;
}

TEST_F(RunCliTest, EventsAreLines) {
  v1::WatchEventsResponse message;
  v1::Event event = MakeEvent("volume_created", "a", "1");
  event.set_client("10.0.0.7:4711");
  event.set_message("10G, ZSTD");
  *message.add_events() = event;
  event = MakeEvent("attached", "a", "1");
  event.set_client("10.0.0.7:4712");
  event.set_protocol("nbd");
  *message.add_events() = event;
  cli_.server().events = {message};
  message.clear_events();
  event = MakeEvent("volume_renamed", "b\x1b", "1");
  event.set_old_volume("a");
  *message.add_events() = event;
  event = MakeEvent("snapshot_created", "@monday", "2");
  event.set_message("of \"b\"");
  *message.add_events() = event;
  event = MakeEvent("memory_low", "", "");
  event.set_reason("SERVER_MEMORY_LIMIT");
  *message.add_events() = event;
  cli_.server().events.push_back(message);
  const auto result = Run("events");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out,
            "2023-11-14 22:13:20  volume_created    a                 by "
            "10.0.0.7:4711, 10G, ZSTD\n"
            "2023-11-14 22:13:20  attached          a                 nbd "
            "10.0.0.7:4712\n"
            "2023-11-14 22:13:20  volume_renamed    b\\x1b                was "
            "a\n"
            "2023-11-14 22:13:20  snapshot_created  @monday           of "
            "\"b\"\n"
            "2023-11-14 22:13:20  memory_low        -                 "
            "SERVER_MEMORY_LIMIT\n");
  EXPECT_THAT(Run("events a").out,
              AllOf(HasSubstr("attached"), HasSubstr("was a"),
                    Not(HasSubstr("memory_low"))));
  EXPECT_EQ(Run("events x").out, "");
  const auto json = Run("events a -o json");
  EXPECT_THAT(json.out, StartsWith("{\"sequence\":\"0\",\"type\":"));
  EXPECT_EQ(std::count(json.out.begin(), json.out.end(), '\n'), 3);
  EXPECT_THAT(Run("events -o yaml").out, StartsWith("---\nclient: "));
  UsageErrorOf("events -o name");
}

TEST_F(RunCliTest, EventsBeginWhereTheyAreAskedTo) {
  cli_.context().now = [] { return absl::FromUnixSeconds(1'700'000'000); };
  EXPECT_EQ(Run("events --since=10m").exit_code, 0);
  EXPECT_EQ(cli_.server().last_watch.since().seconds(), 1'700'000'000 - 600);
  EXPECT_FALSE(cli_.server().last_watch.follow());
  EXPECT_EQ(Run("events --since=2023-11-14T22:13:20Z").exit_code, 0);
  EXPECT_EQ(cli_.server().last_watch.since().seconds(), 1'700'000'000);
  EXPECT_EQ(Run("events --since=now").exit_code, 0);
  EXPECT_TRUE(cli_.server().last_watch.only_new());
  EXPECT_FALSE(cli_.server().last_watch.has_since());
  UsageErrorOf("events --since=yesterday");
  UsageErrorOf("events --selector==");
}

TEST_F(RunCliTest, EventsOfChosenLabels) {
  cli_.AddVolume("a", 1);
  v1::Volume& a = cli_.server().settings("a");
  (*a.mutable_labels())["team"] = "ci";
  cli_.AddVolume("b", 1);
  v1::WatchEventsResponse message;
  *message.add_events() = MakeEvent("attached", "a", a.uid());
  *message.add_events() =
      MakeEvent("attached", "b", cli_.server().settings("b").uid());
  *message.add_events() = MakeEvent("attached", "gone", "77");
  *message.add_events() = MakeEvent("volume_deleted", "a", a.uid());
  cli_.server().events = {message};
  const std::string out = Run("events --selector=team=ci").out;
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 2) << out;
  EXPECT_THAT(out, AllOf(HasSubstr("attached"), HasSubstr("volume_deleted"),
                         Not(HasSubstr("  b ")), Not(HasSubstr("gone"))));
}

TEST_F(RunCliTest, FollowingEventsEndsWhenInterruptedOrTheServerStops) {
  cli_.interrupted() = true;
  const auto interrupted = Run("events --follow");
  EXPECT_EQ(interrupted.exit_code, 130);
  EXPECT_TRUE(cli_.server().last_watch.follow());
  cli_.interrupted() = false;
  cli_.server().events_end =
      WithReason(absl::OutOfRangeError("gone"), reason::kEventsLost);
  const auto lost = Run("events --follow");
  EXPECT_EQ(lost.exit_code, 1);
  EXPECT_THAT(lost.err, HasSubstr("(EVENTS_LOST)"));
}

TEST_F(RunCliTest, TimesToLiveAreSetShownAndRemoved) {
  EXPECT_EQ(Run("create a 1G --ttl=90m").exit_code, 0);
  EXPECT_EQ(cli_.server().last_create.ttl().seconds(), 5400);
  v1::Volume& volume = cli_.server().settings("a");
  EXPECT_THAT(Run("show a").out,
              HasSubstr("1h30m after the last client has detached"));
  EXPECT_THAT(Run("ls -o wide").out, HasSubstr("in use"));
  volume.mutable_expire_time()->set_seconds(1'700'003'600);
  cli_.context().now = [] { return absl::FromUnixSeconds(1'700'000'000); };
  EXPECT_THAT(Run("show a").out,
              HasSubstr("1h30m after the last use: in 1h, at 2023-11-14 "
                        "23:13:20 UTC"));
  EXPECT_THAT(Run("ls -o wide").out,
              AllOf(HasSubstr("EXPIRES"), HasSubstr("in 1h")));
  EXPECT_THAT(Run("ls").out, Not(HasSubstr("EXPIRES")));
  EXPECT_EQ(Run("set a --ttl=7d").exit_code, 0);
  EXPECT_EQ(cli_.server().last_update.volume().ttl().seconds(), 7 * 86400);
  EXPECT_EQ(Run("set a --ttl=1.5s").exit_code, 0);
  EXPECT_EQ(cli_.server().last_update.volume().ttl().nanos(), 500'000'000);
  EXPECT_EQ(Run("set a --ttl=0").exit_code, 0);
  EXPECT_THAT(cli_.server().last_update.update_mask().paths(),
              ElementsAre("ttl"));
  EXPECT_FALSE(volume.has_ttl());
  EXPECT_THAT(Run("ls -o wide").out, Not(HasSubstr("in 1h")));
  UsageErrorOf("set a --ttl=-1s");
  UsageErrorOf("set a --ttl=soon");
  UsageErrorOf("set a --ttl=d");
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

// The answer as `Message`, which fails for a field that it does not have.
template <typename Message>
Message FromJson(const std::string& json) {
  Message message;
  const auto parsed =
      google::protobuf::util::JsonStringToMessage(json, &message);
  EXPECT_TRUE(parsed.ok()) << parsed << " in " << json;
  return message;
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

TEST_F(RunCliTest, CreateSendsEveryFlagInAnyOrder) {
  const auto result = Run(
      "--output json create --level -5 scratch --merge-level=7 1.5G "
      "--allocator ZSTD --min-frame 8K --max-frame=32768 --memory-limit 1G "
      "--read-only --label a=b --label c=d=e --server other:1 --timeout 5s");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  const v1::CreateVolumeRequest& sent = cli_.server().last_create;
  EXPECT_EQ(sent.name(), "scratch");
  EXPECT_EQ(sent.size_bytes(), 3 * kGiB / 2);
  EXPECT_EQ(sent.zstd_level(), -5);
  EXPECT_EQ(sent.merge_zstd_level(), 7);
  EXPECT_EQ(sent.allocator(), v1::ALLOCATOR_ZSTD);
  EXPECT_EQ(sent.min_frame_bytes(), 8192);
  EXPECT_EQ(sent.max_frame_bytes(), 32768);
  EXPECT_EQ(sent.memory_limit_bytes(), kGiB);
  EXPECT_TRUE(sent.read_only());
  EXPECT_EQ(sent.labels().at("a"), "b");
  EXPECT_EQ(sent.labels().at("c"), "d=e");
  EXPECT_FALSE(sent.validate_only());
  EXPECT_EQ(cli_.options().server, "other:1");
  EXPECT_EQ(cli_.options().timeout, absl::Seconds(5));
  EXPECT_THAT(result.out, HasSubstr("\"sizeBytes\": \"1610612736\""));
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

TEST_F(RunCliTest, DryRunMakesNothing) {
  const auto result = Run("create a 1G --dry-run");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_TRUE(cli_.server().last_create.validate_only());
  EXPECT_FALSE(cli_.server().Has("a"));
  EXPECT_EQ(result.out,
            "Name:          a\n"
            "Size:          1 GiB (1073741824 bytes)\n"
            "Allocator:     zstd\n"
            "Frames:        4 KiB to 64 KiB\n"
            "Levels:        1 writing, 3 merging\n"
            "Memory limit:  none\n"
            "Access:        read-write\n"
            "Time to live:  none\n"
            "Labels:        none\n");
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

TEST_F(RunCliTest, ControlCommandsDoNotWaitForAServer) {
  Run("ls");
  EXPECT_EQ(cli_.options().reconnect_timeout, absl::ZeroDuration());
}

TEST_F(RunCliTest, ListShowsATable) {
  Run("create scratch 10G --label team=x");
  Run("create a 512 --allocator=malloc --read-only");
  EXPECT_EQ(Run("ls").out,
            "NAME       SIZE  ALLOCATOR  ACCESS  LABELS\n"
            "a         512 B  malloc     ro\n"
            "scratch  10 GiB  zstd       rw      team=x\n");
  EXPECT_EQ(Run("ls --quiet").out, "a\nscratch\n");
  cli_.server().stats.set_ratio(2.5);
  cli_.server().stats.set_stored_bytes(4096);
  cli_.server().stats.set_memory_bytes(8192);
  cli_.server().stats.set_own_bytes(1024);
  EXPECT_EQ(Run("ls -l").out,
            "NAME       SIZE  ALLOCATOR  ACCESS  DATA  STORED  MEMORY    OWN  "
            "RATIO  CLIENTS  LABELS\n"
            "a         512 B  malloc     ro       0 B   4 KiB   8 KiB  1 KiB  "
            " 2.50        0\n"
            "scratch  10 GiB  zstd       rw       0 B   4 KiB   8 KiB  1 KiB  "
            " 2.50        0  team=x\n");
  EXPECT_THAT(Run("ls --output=json").out,
              AllOf(StartsWith("{\n \"volumes\": [\n"),
                    HasSubstr("\"name\": \"scratch\"")));
}

TEST_F(RunCliTest, EmptyListIsEmpty) {
  EXPECT_EQ(Run("ls").out, "NAME  SIZE  ALLOCATOR  ACCESS  LABELS\n");
  EXPECT_EQ(Run("ls -q").out, "");
  EXPECT_THAT(Run("ls --output=json").out, HasSubstr("\"volumes\": []"));
}

TEST_F(RunCliTest, StatIsReadable) {
  Run("create a 1G");
  v1::VolumeStats& stats = cli_.server().stats;
  stats.set_stored_bytes(100 << 20);
  stats.set_memory_bytes(110 << 20);
  stats.set_own_bytes(10 << 20);
  stats.set_shared_bytes(100 << 20);
  stats.set_ratio(4);
  stats.mutable_blocks()->set_compressed(300);
  stats.mutable_blocks()->set_raw(100);
  v1::FrameCount* frames = stats.add_frames();
  frames->set_span_blocks(16);
  frames->set_frames(10);
  frames->set_stored_bytes(10 * 16384);
  stats.mutable_io()->set_write_operations(7);
  stats.mutable_io()->set_written_bytes(7 << 20);
  stats.mutable_io()->set_write_nanoseconds(7 * 1250);
  stats.mutable_io()->set_cache_hits(3);
  stats.mutable_io()->set_cache_misses(1);
  stats.mutable_io()->set_compress_nanoseconds(1500000000);
  EXPECT_EQ(Run("stat a").out, R"(Name:          a
Size:          1 GiB (1073741824 bytes)
Data:          0 bytes
Stored:        100 MiB (104857600 bytes)
Ratio:         4.00
Memory:        110 MiB (115343360 bytes)
Own:           10 MiB (10485760 bytes)
Shared:        100 MiB (104857600 bytes)
Memory limit:  none
Hot:           0 B, of which 0 B not yet compressed
Dead:          0 B
Attached:      0 clients

BLOCKS       COUNT     BYTES  SHARE
compressed     300  1.17 MiB  75.0%
raw            100   400 KiB  25.0%
same-filled      0       0 B   0.0%
dirty            0       0 B   0.0%

FRAMES  COUNT   STORED  RATIO
64 KiB     10  160 KiB   4.00

I/O      OPERATIONS  BYTES
read              0    0 B
write             7  7 MiB
trim              0    0 B
zero              0    0 B
flush             0      -
extents           0      -
failed            0      -

Cache:       3 hits, 1 miss (75.0% hits)
Mean time:   no read yet, 1.2 us a write
Background:  0 frames merged, 0 split
zstd:        1.500 s compressing, 0.000 s decompressing
Corrupt:     0 frames
)");
  EXPECT_THAT(Run("stat a --output=json").out,
              HasSubstr("\"storedBytes\": \"104857600\""));
}

TEST_F(RunCliTest, ClientsAreListed) {
  cli_.context().now = [] { return absl::FromUnixSeconds(1000 + 3725); };
  Run("create a 1G");
  EXPECT_EQ(Run("clients a").out,
            "PROTOCOL  ADDRESS  SINCE  FOR  READ  WRITTEN\n");
  for (const char* protocol : {"nbd", "io"}) {
    v1::AttachedClient& client = cli_.server().clients.emplace_back();
    client.set_protocol(protocol);
    client.set_address("10.0.0.7:40112");
    client.mutable_attach_time()->set_seconds(1000);
  }
  v1::AttachedClient& first = cli_.server().clients.front();
  first.set_read_operations(1100);
  first.set_read_bytes(1537 << 10);
  first.set_write_operations(2);
  first.set_written_bytes(8192);
  EXPECT_EQ(Run("clients a").out,
            "PROTOCOL  ADDRESS         SINCE                       FOR      "
            "READ  WRITTEN\n"
            "nbd       10.0.0.7:40112  1970-01-01 00:16:40 UTC  1h2m5s  1.50 "
            "MiB    8 KiB\n"
            "io        10.0.0.7:40112  1970-01-01 00:16:40 UTC  1h2m5s       0 "
            "B      0 B\n");
  EXPECT_THAT(Run("clients a -o wide").out,
              AllOf(HasSubstr("WRITTEN  READS  WRITES\n"),
                    HasSubstr("  1.50 MiB    8 KiB   1100       2\n")));
  const auto message =
      FromJson<v1::ListClientsResponse>(Run("clients a -o json").out);
  ASSERT_EQ(message.clients_size(), 2);
  EXPECT_EQ(message.clients(0).read_operations(), 1100);
  EXPECT_EQ(message.clients(0).written_bytes(), 8192);
  EXPECT_EQ(Run("clients b").exit_code, 3);
}

TEST_F(RunCliTest, ChecksumsAndComparisons) {
  cli_.AddVolume("a", 1 << 20).Fill(8192, "x");
  cli_.AddVolume("b", 1 << 20);
  const std::string file = TempPath("compared");
  EXPECT_EQ(cli_.Run({"export", "a", file}).exit_code, 0);
  const auto sums = cli_.Run({"checksum", "a", file});
  EXPECT_EQ(sums.exit_code, 0) << sums.err;
  EXPECT_EQ(sums.out.substr(32),
            "  a\n" + sums.out.substr(0, 32) + "  " + file + "\n");
  const auto json =
      FromJson<output::v1::ChecksumOutput>(Run("checksum a b -o json").out);
  ASSERT_EQ(json.checksums_size(), 2);
  EXPECT_EQ(json.checksums(0).checksum(), sums.out.substr(0, 32));
  EXPECT_EQ(json.checksums(1).size_bytes(), 1 << 20);
  const auto same = cli_.Run({"cmp", "a", file});
  EXPECT_EQ(same.exit_code, 0) << same.err;
  EXPECT_EQ(same.out, "");
  const auto differ = Run("cmp a b");
  EXPECT_EQ(differ.exit_code, 1);
  EXPECT_EQ(differ.err,
            "ramvol: cmp: a and b differ from byte 8192 on "
            "(CONTENT_DIFFERS)\n");
  EXPECT_EQ(Run("cmp a nothing").exit_code, 3);
  EXPECT_EQ(Run("checksum ./nothing").exit_code, 1);
  UsageErrorOf("cmp a");
}

TEST_F(RunCliTest, WaitsForTheServerAndForVolumes) {
  EXPECT_EQ(Run("wait").exit_code, 0);
  const auto late = Run("wait a --within=1ms");
  EXPECT_EQ(late.exit_code, 5);
  EXPECT_EQ(late.err,
            "ramvol: wait: volume \"a\" was not there within 1ms "
            "(DEADLINE_EXCEEDED)\n");
  EXPECT_EQ(Run("wait a --until=gone").exit_code, 0);
  // It comes while it is waited for, and so does the server.
  int asked = 0;
  cli_.server().set_failure(absl::UnavailableError("refused"));
  cli_.context().now = [this, &asked] {
    ++asked;
    if (asked == 2) cli_.server().set_failure(absl::OkStatus());
    if (asked == 3) cli_.AddVolume("a", 4096);
    return absl::UnixEpoch();
  };
  EXPECT_EQ(Run("wait a --within=1h").exit_code, 0);
  EXPECT_EQ(asked, 3);
  cli_.server().stats.set_attached_clients(1);
  cli_.context().now = [this] {
    cli_.server().stats.set_attached_clients(0);
    return absl::UnixEpoch();
  };
  EXPECT_EQ(Run("wait a --until=free").exit_code, 0);
  EXPECT_EQ(Run("wait a").exit_code, 0);
  cli_.server().set_failure(absl::PermissionDeniedError("no"));
  EXPECT_EQ(Run("wait a").exit_code, 1);
  UsageErrorOf("wait a --until=better");
}

TEST_F(RunCliTest, ServerIsDescribed) {
  cli_.context().now = [] { return absl::FromUnixSeconds(1000 + 3725); };
  EXPECT_THAT(Run("server").out,
              AllOf(HasSubstr("Version:       9.8.7\n"),
                    HasSubstr("1h2m5s since 1970-01-01 00:16:40 UTC"),
                    HasSubstr("256 MiB (268435456 bytes), 25.0%")));
  EXPECT_THAT(Run("server --output=json").out,
              HasSubstr("\"version\": \"9.8.7\""));
}

TEST_F(RunCliTest, HealthIsZeroOnlyWhileServing) {
  const auto serving = Run("health");
  EXPECT_EQ(serving.exit_code, 0);
  EXPECT_EQ(serving.out, "SERVING\n");
  EXPECT_EQ(cli_.options().reconnect_timeout, absl::ZeroDuration());
  EXPECT_THAT(Run("health --output=json").out,
              HasSubstr("\"status\": \"SERVING\""));
  cli_.server().set_failure(
      absl::FailedPreconditionError("the server says NOT_SERVING"));
  const auto stopping = Run("health");
  EXPECT_EQ(stopping.exit_code, 1);
  EXPECT_EQ(stopping.out, "");
  EXPECT_THAT(stopping.err, HasSubstr("the server says NOT_SERVING"));
  cli_.server().set_failure(absl::UnavailableError("refused"));
  EXPECT_EQ(Run("health --timeout=1s").exit_code, 5);
}

TEST_F(RunCliTest, SetNamesOnlyWhatChanges) {
  Run("create a 1G --label keep=1 --label drop=2");
  EXPECT_EQ(Run("set a --level 9 --read-only=true").exit_code, 0);
  EXPECT_THAT(cli_.server().last_update.update_mask().paths(),
              ElementsAre("zstd_level", "read_only"));
  EXPECT_TRUE(cli_.server().settings("a").read_only());
  EXPECT_EQ(Run("set a --read-only false").exit_code, 0);
  EXPECT_FALSE(cli_.server().settings("a").read_only());
  EXPECT_EQ(Run("set a --memory-limit=0").exit_code, 0);
  EXPECT_THAT(cli_.server().last_update.update_mask().paths(),
              ElementsAre("memory_limit_bytes"));
  EXPECT_THAT(UsageErrorOf("set a"), HasSubstr("nothing to change"));
}

TEST_F(RunCliTest, LabelsAreMerged) {
  Run("create a 1G --label keep=1 --label drop=2 --label change=3");
  const auto result =
      Run("set a --label change=4 --label new=5 --unlabel drop");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Labels:        change=4,keep=1,new=5\n"));
  EXPECT_EQ(cli_.server().last_update.etag(),
            cli_.server().settings("a").etag());
}

TEST_F(RunCliTest, ShrinkingNeedsAFlag) {
  Run("create a 2G");
  EXPECT_EQ(Run("resize a 3G").exit_code, 0);
  const auto refused = Run("resize a 1G");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("3221225472"), HasSubstr("--shrink"),
                                 HasSubstr("(SHRINK_LOSES_DATA)")));
  EXPECT_EQ(cli_.server().settings("a").size_bytes(), 3 * kGiB);
  EXPECT_EQ(Run("resize a 1G --shrink").exit_code, 0);
  EXPECT_EQ(cli_.server().settings("a").size_bytes(), kGiB);
}

TEST_F(RunCliTest, RemoveGoesOnAfterAFailureAndReportsAll) {
  Run("create a 1G");
  Run("create c 1G");
  const auto result = Run("rm a b c d --force");
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("named \"b\""), HasSubstr("named \"d\"")));
  EXPECT_LT(result.err.find("\"b\""), result.err.find("\"d\""));
  EXPECT_EQ(result.out, "removed a\nremoved c\n");
  EXPECT_FALSE(cli_.server().Has("a"));
  EXPECT_FALSE(cli_.server().Has("c"));
  EXPECT_TRUE(cli_.server().last_delete.force());
}

TEST_F(RunCliTest, RemovingManyIsShownAndAsked) {
  for (const char* name : {"ci-1", "ci-2", "golden"}) {
    cli_.AddVolume(name, kGiB);
  }
  const std::string refused = UsageErrorOf("rm ci-*");
  EXPECT_THAT(refused, AllOf(HasSubstr("2 volumes"), HasSubstr("--yes")));
  EXPECT_TRUE(cli_.server().Has("ci-1"));
  cli_.context().in_is_terminal = true;
  cli_.context().err_is_terminal = true;
  for (const char* answer : {"", "n\n", "yep\n"}) {
    cli_.in().Set(answer);
    const auto kept = Run("rm ci-*");
    EXPECT_EQ(kept.exit_code, 1);
    EXPECT_THAT(kept.err, AllOf(HasSubstr("ci-1 "), HasSubstr("ci-2 "),
                                Not(HasSubstr("golden")),
                                HasSubstr("Remove 2 volumes? [y/N] "),
                                HasSubstr("nothing was removed")));
    EXPECT_TRUE(cli_.server().Has("ci-1"));
  }
  cli_.in().Set("y\n");
  EXPECT_EQ(Run("rm ci-*").out, "removed ci-1\nremoved ci-2\n");
  EXPECT_FALSE(cli_.server().last_delete.etag().empty());
  EXPECT_TRUE(cli_.server().Has("golden"));
  EXPECT_EQ(Run("rm x* --yes").exit_code, 3);
  EXPECT_EQ(Run("rm g* --yes -o name").out, "golden\n");
  UsageErrorOf("rm");
}

TEST_F(RunCliTest, VolumesAreChosenByNamesPatternsAndLabels) {
  Run("create a1 1G --label=team=x --label=keep=");
  Run("create a2 3G --label=team=y");
  Run("create b 2G --label=team=x");
  EXPECT_EQ(Run("ls -q b a1").out, "a1\nb\n");
  EXPECT_EQ(Run("ls -q a?").out, "a1\na2\n");
  EXPECT_EQ(Run("ls -q [b-z]* a2").out, "a2\nb\n");
  EXPECT_EQ(Run("ls -q --selector=team=x").out, "a1\nb\n");
  EXPECT_EQ(Run("ls -q --selector team!=x").out, "a2\n");
  EXPECT_EQ(Run("ls -q --selector team==x,!keep").out, "b\n");
  EXPECT_EQ(Run("ls -q --selector keep").out, "a1\n");
  EXPECT_EQ(Run("ls -q a* --selector team=x").out, "a1\n");
  EXPECT_EQ(Run("ls -q --selector team=z").out, "");
  EXPECT_EQ(Run("ls c").exit_code, 3);
  EXPECT_EQ(Run("ls c*").exit_code, 3);
  UsageErrorOf("ls --selector ,");
  UsageErrorOf("ls --selector =x");
  EXPECT_EQ(Run("ls -q --sort=size").out, "a2\nb\na1\n");
  UsageErrorOf("ls --sort=colour");
  EXPECT_EQ(Run("rm --selector=team=x --yes").out, "removed a1\nremoved b\n");
}

TEST_F(RunCliTest, VolumesMayBeNamedLikeCommands) {
  EXPECT_EQ(Run("create create 1G").exit_code, 0);
  EXPECT_EQ(Run("rm create").exit_code, 0);
  EXPECT_FALSE(cli_.server().Has("create"));
}

TEST_F(RunCliTest, ReadWriteAndTrim) {
  FakeVolume& volume = cli_.AddVolume("a", 1 << 20);
  cli_.in().Set("hello");
  EXPECT_EQ(Run("write a 4K").exit_code, 0);
  EXPECT_EQ(volume.Content(4096, 5), "hello");
  const auto read = Run("read a 4095 7");
  EXPECT_EQ(read.exit_code, 0);
  EXPECT_EQ(read.out, std::string("\0hello\0", 7));
  const std::string path = TempPath("out");
  EXPECT_EQ(cli_.Run({"read", "a", "4K", "5", "--out", path}).out, "");
  EXPECT_EQ(ReadFile(path), "hello");
  EXPECT_EQ(cli_.Run({"write", "a", "0", path}).exit_code, 0);
  EXPECT_EQ(volume.Content(0, 5), "hello");
  EXPECT_EQ(Run("trim a 4K 4K").exit_code, 0);
  EXPECT_EQ(volume.Content(4096, 5), std::string(5, '\0'));
  EXPECT_EQ(volume.Content(0, 5), "hello");
  EXPECT_EQ(Run("trim a --all").exit_code, 0);
  EXPECT_EQ(volume.allocated_bytes(), 0);
}

TEST_F(RunCliTest, OnlyTextGoesToATerminal) {
  FakeVolume& volume = cli_.AddVolume("a", 1 << 20);
  volume.Fill(0, "hello,\tRAM\n");
  cli_.context().out_terminal = [] { return TerminalSize(); };
  EXPECT_EQ(Run("read a 0 11").out, "hello,\tRAM\n");
  EXPECT_THAT(UsageErrorOf("read a 0 12"), HasSubstr("--force"));
  UsageErrorOf("read a 0 1M");
  UsageErrorOf("export a -");
  EXPECT_EQ(Run("read a 0 12 --force").out, std::string("hello,\tRAM\n\0", 12));
  EXPECT_EQ(Run("export a - --force").out.size(), size_t{1} << 20);
  volume.Fill(0, "\033[2J");
  UsageErrorOf("read a 0 4");
  const std::string path = TempPath("out");
  EXPECT_EQ(cli_.Run({"read", "a", "0", "12", "--out", path}).exit_code, 0);
}

TEST_F(RunCliTest, TrimOfEverythingMustBeSaid) {
  cli_.AddVolume("a", 1 << 20);
  UsageErrorOf("trim a");
  UsageErrorOf("trim a 0");
  UsageErrorOf("trim a 0 4K --all");
  EXPECT_THAT(cli_.server().data("a").trims(), IsEmpty());
}

TEST_F(RunCliTest, ChangesNoVolumeThatOthersHoldUnlessForced) {
  FakeVolume& volume = cli_.AddVolume("a", 1 << 20);
  volume.Fill(0, "precious");
  cli_.server().attached = true;
  for (const char* line :
       {"write a 0", "trim a --all", "trim a 0 4K", "resize a 4K --shrink"}) {
    cli_.in().Set("slip");
    const auto refused = Run(line);
    EXPECT_EQ(refused.exit_code, 1) << line;
    EXPECT_THAT(refused.err, HasSubstr("(VOLUME_ATTACHED)")) << line;
  }
  EXPECT_EQ(volume.Content(0, 8), "precious");
  EXPECT_EQ(cli_.server().settings("a").size_bytes(), 1 << 20);
  EXPECT_EQ(Run("read a 0 8").out, "precious");
  EXPECT_EQ(Run("resize a 2M").exit_code, 0);
  for (const char* line :
       {"write a 0 --force", "trim a --all --force", "trim a 0 4K --force",
        "resize a 4K --shrink --force"}) {
    cli_.in().Set("meant");
    EXPECT_EQ(Run(line).exit_code, 0) << line;
  }
  EXPECT_EQ(cli_.server().settings("a").size_bytes(), 4096);
}

TEST_F(RunCliTest, RangePastTheEndTouchesNoFile) {
  cli_.AddVolume("a", 4096);
  const std::string path = TempPath("out");
  WriteFile(path, "precious");
  const auto result = cli_.Run({"read", "a", "4000", "97", "--out", path});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("(PAST_END)"));
  EXPECT_EQ(ReadFile(path), "precious");
  EXPECT_EQ(Run("read a 4000 96").exit_code, 0);
  cli_.in().Set("x");
  EXPECT_EQ(Run("write a 4096").exit_code, 1);
  EXPECT_EQ(Run("write a 4097").exit_code, 1);
  EXPECT_EQ(Run("write a 4095").exit_code, 0);
}

TEST_F(RunCliTest, ExtentsAsTableAndJson) {
  cli_.AddVolume("a", 1 << 20).Fill(8192, "x");
  EXPECT_EQ(Run("extents a").out,
            " OFFSET   LENGTH  STATE\n"
            "      0     8192  hole\n"
            "   8192     4096  data\n"
            "  12288  1036288  hole\n"
            "\n"
            "Extents:  3\n"
            "Data:     4 KiB (4096 bytes)\n"
            "Holes:    1020 KiB (1044480 bytes)\n");
  EXPECT_EQ(Run("extents a --offset 8K --length 8K --output=json").out,
            "{\n \"extents\": [\n"
            "  {\"offset\": \"8192\", \"length\": \"4096\", \"hole\": false},\n"
            "  {\"offset\": \"12288\", \"length\": \"4096\", \"hole\": true}\n"
            " ],\n \"extentCount\": \"2\",\n \"dataBytes\": \"4096\",\n"
            " \"holeBytes\": \"4096\"\n}\n");
  EXPECT_EQ(Run("extents a --totals").out,
            "Extents:  3\n"
            "Data:     4 KiB (4096 bytes)\n"
            "Holes:    1020 KiB (1044480 bytes)\n");
  EXPECT_EQ(Run("extents a --totals --output=json").out,
            "{\n \"extentCount\": \"3\",\n \"dataBytes\": \"4096\",\n"
            " \"holeBytes\": \"1044480\"\n}\n");
  EXPECT_EQ(Run("extents a --offset 2M").exit_code, 1);
}

}  // namespace
}  // namespace ramvol::cli
