#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/client/cli/command_line_fixture.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class EventsCommandTest : public CommandLineTest {};

v1::Event MakeEvent(const std::string& type, const std::string& volume,
                    const std::string& uid) {
  v1::Event event;
  event.mutable_time()->set_seconds(1'700'000'000);
  event.set_type(type);
  event.set_volume(volume);
  event.set_uid(uid);
  return event;
}

TEST_F(EventsCommandTest, EventsAreLines) {
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

TEST_F(EventsCommandTest, EventsBeginWhereTheyAreAskedTo) {
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

TEST_F(EventsCommandTest, EventsOfChosenLabels) {
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

TEST_F(EventsCommandTest, FollowingEventsEndsWhenInterruptedOrTheServerStops) {
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

}  // namespace
}  // namespace ramvol::cli
