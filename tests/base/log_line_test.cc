#include "base/log_line.h"

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol {
namespace {

using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Line(LogFormat format, Event event, const LogFields& fields) {
  // 2026-11-29T03:12:50.007Z.
  return FormatLogLine(format, absl::FromUnixMillis(1795921970007), "ramvold",
                       event, fields);
}

constexpr LogFields kAllFields = {.volume = "disk",
                                  .client = "127.0.0.1:4711",
                                  .over = "nbd",
                                  .reason = "PAST_END",
                                  .message = "what happened",
                                  .count = 7};

TEST(LogLineTest, TextHasAllFieldsInOrder) {
  EXPECT_EQ(Line(LogFormat::kText, Event::kNoSpace, kAllFields),
            "2026-11-29T03:12:50.007Z ramvold: warning no_space volume=disk "
            "client=127.0.0.1:4711 over=nbd reason=PAST_END count=7: what "
            "happened\n");
}

TEST(LogLineTest, JsonHasAllFieldsInOrder) {
  EXPECT_EQ(Line(LogFormat::kJson, Event::kNoSpace, kAllFields),
            R"({"time":"2026-11-29T03:12:50.007Z","program":"ramvold",)"
            R"("level":"warning","event":"no_space","volume":"disk",)"
            R"("client":"127.0.0.1:4711","over":"nbd","reason":"PAST_END",)"
            R"("count":7,"message":"what happened"})"
            "\n");
}

TEST(LogLineTest, LeavesOutEmptyFields) {
  EXPECT_EQ(Line(LogFormat::kText, Event::kAttached, {}),
            "2026-11-29T03:12:50.007Z ramvold: info attached\n");
  EXPECT_EQ(Line(LogFormat::kJson, Event::kFailed, {}),
            R"({"time":"2026-11-29T03:12:50.007Z","program":"ramvold",)"
            R"("level":"error","event":"failed"})"
            "\n");
}

// A client chooses names and messages. None may begin a line of its own.
TEST(LogLineTest, EscapesWhatClientsChoose) {
  const LogFields hostile = {.volume = "a b\"\n", .message = "x\ny"};
  const std::string text = Line(LogFormat::kText, Event::kNote, hostile);
  EXPECT_EQ(text.find('\n'), text.size() - 1) << text;
  EXPECT_THAT(text, HasSubstr(R"(volume="a b\"\n")"));
  const std::string json = Line(LogFormat::kJson, Event::kNote, hostile);
  EXPECT_EQ(json.find('\n'), json.size() - 1) << json;
  EXPECT_THAT(json, AllOf(HasSubstr(R"("volume":"a b\"\n")"),
                          HasSubstr(R"("message":"x\ny")")));
}

TEST(LogLineTest, ParsesFlags) {
  EXPECT_EQ(*ParseLogFormat("text"), LogFormat::kText);
  EXPECT_EQ(*ParseLogFormat("json"), LogFormat::kJson);
  EXPECT_EQ(*ParseLogLevel("info"), LogLevel::kInfo);
  EXPECT_EQ(*ParseLogLevel("warning"), LogLevel::kWarning);
  EXPECT_EQ(*ParseLogLevel("error"), LogLevel::kError);
}

TEST(LogLineTest, NamesFlagValueAndChoices) {
  EXPECT_THAT(ParseLogFormat("xml"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--log_format is \"xml\"; give text or json"));
  EXPECT_THAT(ParseLogLevel("off"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--log_level is \"off\"; give info, warning or error"));
}

}  // namespace
}  // namespace ramvol
