#include "server/service/event_feed.h"

#include <cstdint>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/event_log.h"
#include "base/reason.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::HasReason;
using ::ramvol::testing::IsOk;
using Events = google::protobuf::RepeatedPtrField<v1::Event>;

class EventFeedTest : public ::testing::Test {
 protected:
  void Happen(const std::string& volume) {
    feed_.OnEvent(ramvol::Event::kVolumeCreated, {.volume = volume});
  }
  Events Read(uint64_t position, size_t max_bytes = size_t{1} << 30) {
    Events events;
    EXPECT_THAT(feed_.Read(&position, max_bytes, &events), IsOk());
    EXPECT_EQ(position, events.empty() ? position
                                       : static_cast<uint64_t>(
                                             events.rbegin()->sequence()));
    return events;
  }

  absl::Time now_ = absl::FromUnixSeconds(1000);
  EventFeed feed_{[this] { return now_; }};
};

TEST_F(EventFeedTest, NumbersEventsAndKeepsWhatIsSaid) {
  EXPECT_EQ(feed_.Last(), 0u);
  EXPECT_TRUE(Read(0).empty());
  feed_.OnEvent(ramvol::Event::kVolumeRenamed, {.volume = "new",
                                                .old_volume = "old",
                                                .client = "10.0.0.7:1",
                                                .over = "nbd",
                                                .reason = "WHY",
                                                .message = "so",
                                                .uid = 0xabc});
  Happen("b");
  const Events events = Read(0);
  ASSERT_EQ(events.size(), 2);
  EXPECT_EQ(events[0].ShortDebugString(),
            "sequence: 1 time { seconds: 1000 } type: \"volume_renamed\" "
            "volume: \"new\" uid: \"0000000000000abc\" old_volume: \"old\" "
            "client: \"10.0.0.7:1\" protocol: \"nbd\" reason: \"WHY\" "
            "message: \"so\"");
  EXPECT_EQ(events[1].sequence(), 2);
  EXPECT_EQ(Read(1).size(), 1);
  EXPECT_EQ(Read(2).size(), 0);
  EXPECT_NE(feed_.id(), EventFeed().id());
}

TEST_F(EventFeedTest, GivesOutAsMuchAsFits) {
  for (int i = 0; i < 10; ++i) Happen("a");
  EXPECT_EQ(Read(0, 1).size(), 1) << "one at least";
  const size_t one = Read(0, 1)[0].ByteSizeLong();
  EXPECT_EQ(Read(3, 4 * one).size(), 4);
}

TEST_F(EventFeedTest, KeepsTheLastOnesAndSaysWhenOneIsGone) {
  constexpr int kMore = 10;
  for (size_t i = 0; i < EventFeed::kMaxEvents + kMore; ++i) Happen("a");
  EXPECT_EQ(feed_.Oldest(), static_cast<uint64_t>(kMore));
  uint64_t position = kMore - 1;
  Events events;
  EXPECT_THAT(feed_.Read(&position, 1000, &events),
              HasReason(absl::StatusCode::kOutOfRange, reason::kEventsLost));
  EXPECT_EQ(Read(kMore).size(), static_cast<int>(EventFeed::kMaxEvents));
}

TEST_F(EventFeedTest, BoundsItsMemoryWhateverIsSaid) {
  const std::string text(100'000, 'x');
  for (size_t i = 0; i < EventFeed::kMaxEvents; ++i) {
    feed_.OnEvent(ramvol::Event::kAttached,
                  {.volume = text, .client = text, .message = text});
  }
  size_t bytes = 0;
  for (const v1::Event& event : Read(feed_.Oldest())) {
    bytes += event.ByteSizeLong();
    EXPECT_LE(event.message().size(), EventFeed::kMaxMessageBytes);
  }
  EXPECT_LE(bytes, EventFeed::kMaxBytes);
  EXPECT_GT(bytes, EventFeed::kMaxBytes / 2);
}

TEST_F(EventFeedTest, CutsBetweenCharacters) {
  std::string text(EventFeed::kMaxMessageBytes - 1, 'x');
  feed_.OnEvent(ramvol::Event::kAttached, {.message = text + "\xc3\xbc"});
  EXPECT_EQ(Read(0)[0].message(), text);
}

TEST_F(EventFeedTest, RepetitionsCountOnce) {
  for (int i = 0; i < 1000; ++i) {
    feed_.OnEvent(ramvol::Event::kNoSpace, {.volume = "a", .reason = "R"});
  }
  feed_.OnEvent(ramvol::Event::kNoSpace, {.volume = "b", .reason = "R"});
  EXPECT_EQ(Read(0).size(), 2);
}

TEST_F(EventFeedTest, FindsTheFirstSinceATime) {
  EXPECT_EQ(feed_.At(absl::InfinitePast()), 0u);
  for (int i = 0; i < 3; ++i) {
    Happen("a");
    now_ += absl::Seconds(1);
  }
  EXPECT_EQ(feed_.At(absl::FromUnixSeconds(1000)), 0u);
  EXPECT_EQ(feed_.At(absl::FromUnixSeconds(1001)), 1u);
  EXPECT_EQ(feed_.At(absl::FromUnixSeconds(1005)), 3u);
}

TEST_F(EventFeedTest, WaitsUntilThereIsOneOrItIsStopped) {
  uint64_t position = 0;
  std::thread other([this] { Happen("a"); });
  EXPECT_TRUE(feed_.Wait(&position));
  EXPECT_EQ(position, 1u);
  other.join();
  std::thread stopper([this] { feed_.Stop(); });
  EXPECT_FALSE(feed_.Wait(&position));
  stopper.join();
}

}  // namespace
}  // namespace ramvol::service
