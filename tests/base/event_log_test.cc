#include "base/event_log.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr int64_t kSecondNs = 1'000'000'000;

class EventLogTest : public ::testing::Test {
 protected:
  std::vector<std::string> Lines() {
    MutexLock lock(&mu_);
    return absl::StrSplit(text_, '\n', absl::SkipEmpty());
  }

  Mutex mu_;
  std::string text_;
  int64_t now_ns_ = 1000 * kSecondNs;
  EventLog log_{[this](std::string_view lines) {
                  MutexLock lock(&mu_);
                  text_ += lines;
                },
                [this] { return now_ns_; }};
};

TEST_F(EventLogTest, IsSilentUntilConfigured) {
  log_.Log(Event::kFailed, {.message = "nobody hears it"});
  EXPECT_THAT(Lines(), IsEmpty());
}

TEST_F(EventLogTest, WritesALineForEachEvent) {
  log_.Configure({.program = "ramvold"});
  log_.Log(Event::kAttached,
           {.volume = "disk", .client = "127.0.0.1:4711", .over = "nbd"});
  log_.Log(Event::kNote, {.message = "stopped"});
  EXPECT_THAT(Lines(),
              ElementsAre(EndsWith("Z ramvold: info attached volume=disk "
                                   "client=127.0.0.1:4711 over=nbd"),
                          EndsWith("Z ramvold: info note: stopped")));
}

TEST_F(EventLogTest, LeavesOutWhatIsBelowTheLevel) {
  log_.Configure({.program = "p", .level = LogLevel::kWarning});
  log_.Log(Event::kAttached, {.volume = "disk"});
  log_.Log(Event::kNoSpace, {.volume = "disk"});
  log_.Log(Event::kDataLoss, {.volume = "disk"});
  EXPECT_THAT(Lines(), ElementsAre(HasSubstr("warning no_space"),
                                   HasSubstr("error data_loss")));
}

TEST_F(EventLogTest, BoundsEachKindAndSaysHowManyItLeftOut) {
  log_.Configure({.program = "p"});
  for (int i = 0; i < 1000; ++i) {
    log_.Log(Event::kAttached, {.volume = absl::StrCat("v", i)});
  }
  EXPECT_THAT(Lines(), SizeIs(LogRate::kBurst));
  log_.Log(Event::kVolumeDeleted, {.volume = "v1"});
  EXPECT_THAT(Lines().back(), HasSubstr("volume_deleted volume=v1"));

  text_.clear();
  log_.ReportLeftOut();
  EXPECT_THAT(Lines(),
              ElementsAre(HasSubstr("left_out reason=attached count=900")));
  log_.ReportLeftOut();
  EXPECT_THAT(Lines(), SizeIs(1));

  text_.clear();
  now_ns_ += kSecondNs;
  for (int i = 0; i < 1000; ++i) log_.Log(Event::kAttached, {.volume = "v"});
  EXPECT_THAT(Lines(), SizeIs(LogRate::kPerSecond));
}

TEST_F(EventLogTest, RepeatsOnceInAWhileForEachVolumeAndReason) {
  log_.Configure({.program = "p"});
  for (int i = 0; i < 100; ++i) {
    log_.Log(Event::kNoSpace, {.volume = "a", .reason = "X"});
    log_.Log(Event::kNoSpace, {.volume = "b", .reason = "X"});
    log_.Log(Event::kNoSpace, {.volume = "b", .reason = "Y"});
  }
  EXPECT_THAT(Lines(), SizeIs(3));
  now_ns_ += LogRate::kRepeatNs;
  log_.Log(Event::kNoSpace, {.volume = "a", .reason = "X"});
  EXPECT_THAT(Lines(), SizeIs(4));
  text_.clear();
  log_.ReportLeftOut();
  EXPECT_THAT(Lines(),
              ElementsAre(HasSubstr("left_out reason=no_space count=297")));
}

class Ear final : public EventObserver {
 public:
  void OnEvent(Event event, const LogFields& fields) override {
    heard.push_back(std::string(TraitsOf(event).name) + " " +
                    std::string(fields.volume));
  }
  std::vector<std::string> heard;
};

TEST_F(EventLogTest, ObserversHearWhatTheLogLeavesOut) {
  Ear ear;
  log_.AddObserver(&ear);
  log_.Log(Event::kVolumeCreated, {.volume = "unconfigured"});
  log_.Configure({.program = "p", .level = LogLevel::kError});
  log_.Log(Event::kNote, {.message = "of no volume"});
  for (int i = 0; i < 150; ++i) {
    log_.Log(Event::kAttached, {.volume = absl::StrCat(i)});
  }
  for (int i = 0; i < 2; ++i) {
    log_.Log(Event::kDataLoss, {.volume = "again"});
  }
  EXPECT_THAT(Lines(), SizeIs(1));
  ASSERT_THAT(ear.heard, SizeIs(153));
  EXPECT_EQ(ear.heard.front(), "volume_created unconfigured");
  EXPECT_EQ(ear.heard[150], "attached 149");
  EXPECT_EQ(ear.heard.back(), "data_loss again");
  log_.RemoveObserver(&ear);
  log_.Log(Event::kVolumeCreated, {.volume = "unheard"});
  EXPECT_THAT(ear.heard, SizeIs(153));
}

TEST_F(EventLogTest, WritesJson) {
  log_.Configure({.program = "p", .format = LogFormat::kJson});
  log_.Log(Event::kNoSpace, {.volume = "disk",
                             .reason = "SERVER_MEMORY_LIMIT",
                             .message = "a \"quote\",\n a line\xff"});
  EXPECT_THAT(Lines(),
              ElementsAre(HasSubstr(
                  R"("program":"p","level":"warning","event":"no_space",)"
                  R"("volume":"disk","reason":"SERVER_MEMORY_LIMIT",)"
                  R"("message":"a \"quote\",\n a line)"
                  "\xEF\xBF\xBD\"}")));
}

TEST_F(EventLogTest, NothingInAFieldBreaksALine) {
  log_.Configure({.program = "p"});
  log_.Log(Event::kConnectionRefused,
           {.volume = "a\n2026 p: info note", .message = "x\n\x1b[2J"});
  EXPECT_THAT(
      Lines(),
      ElementsAre(EndsWith(R"(volume="a\n2026 p: info note": x\n\x1b[2J)")));
}

TEST_F(EventLogTest, TellsTheJournalThePriority) {
  log_.Configure({.program = "p", .for_journal = true});
  log_.Log(Event::kAttached, {});
  log_.Log(Event::kNoSpace, {});
  log_.Log(Event::kDataLoss, {});
  EXPECT_THAT(Lines(), ElementsAre(StartsWith("<6>2"), StartsWith("<4>2"),
                                   StartsWith("<3>2")));
}

// Whoever reads the log may stop to.
TEST(EventLogThreadTest, NobodyWaitsForTheReader) {
  Mutex mu;
  CondVar changed;
  bool reads = false;
  size_t bytes = 0;
  EventLog log([&](std::string_view lines) {
    MutexLock lock(&mu);
    while (!reads) changed.Wait(&mu);
    bytes += lines.size();
  });
  log.Configure({.program = "p"});
  log.Start();
  const std::string message(100'000, 'x');
  for (size_t i = 0; i < 50; ++i) {
    log.Log(Event::kNote, {.message = message});
  }
  log.Flush(absl::ZeroDuration());
  {
    MutexLock lock(&mu);
    reads = true;
    changed.SignalAll();
  }
  log.Flush(absl::Minutes(1));
  MutexLock lock(&mu);
  EXPECT_GT(bytes, message.size());
  EXPECT_LT(bytes, 2 * EventLog::kMaxQueuedBytes + 2 * message.size());
}

TEST(EventLogThreadTest, WritesTheRestAtTheEnd) {
  std::string text;
  {
    EventLog log([&](std::string_view lines) { text += lines; });
    log.Configure({.program = "p"});
    log.Start();
    for (int i = 0; i < 1000; ++i) log.Log(Event::kNote, {.message = "here"});
  }
  const std::vector<std::string> lines =
      absl::StrSplit(text, '\n', absl::SkipEmpty());
  EXPECT_THAT(lines, SizeIs(LogRate::kBurst + 1));
  EXPECT_THAT(lines.back(), HasSubstr("left_out reason=note count=900"));
}

}  // namespace
}  // namespace ramvol
