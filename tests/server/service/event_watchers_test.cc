// VolumeService.WatchEvents, by RPC against a whole server.
#include "server/service/event_watchers.h"

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/event_log.h"
#include "base/fair_share.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/sync_stream.h"
#include "gtest/gtest.h"
#include "proto/status.h"
#include "server/engine/volume.h"
#include "server/service/event_feed.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_server.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::HasReason;
using ::ramvol::testing::IsInvalidField;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::ramvol::testing::TestServer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Stub = v1::VolumeService::Stub;

v1::WatchEventsRequest Following() {
  v1::WatchEventsRequest request;
  request.set_follow(true);
  return request;
}

// A client's side of one stream.
class Watch {
 public:
  Watch(Stub& stub, const v1::WatchEventsRequest& request) {
    // Of a test that fails.
    context_.set_deadline(std::chrono::system_clock::now() +
                          std::chrono::minutes(2));
    reader_ = stub.WatchEvents(&context_, request);
  }

  // Reads the first message.
  bool Open() { return reader_->Read(&first_) && Take(first_); }
  const v1::WatchEventsResponse& first() const { return first_; }

  // Reads until there are `count` events.
  std::vector<v1::Event> Events(size_t count) {
    v1::WatchEventsResponse response;
    while (events_.size() < count && reader_->Read(&response)) Take(response);
    return events_;
  }
  // "volume_created disk", in order.
  std::vector<std::string> Types(size_t count) {
    std::vector<std::string> types;
    for (const v1::Event& event : Events(count)) {
      types.push_back(absl::StrCat(event.type(), " ", event.volume()));
    }
    return types;
  }
  // Reads all that comes, and how it ends.
  absl::Status Finish() {
    v1::WatchEventsResponse response;
    while (reader_->Read(&response)) Take(response);
    return FromGrpcStatus(reader_->Finish());
  }
  const std::vector<v1::Event>& events() const { return events_; }
  void Cancel() { context_.TryCancel(); }

 private:
  bool Take(const v1::WatchEventsResponse& response) {
    events_.insert(events_.end(), response.events().begin(),
                   response.events().end());
    return true;
  }

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchEventsResponse>> reader_;
  v1::WatchEventsResponse first_;
  std::vector<v1::Event> events_;
};

class EventWatchersTest : public ::testing::Test {
 protected:
  void Rename(const std::string& name, const std::string& new_name) {
    v1::RenameVolumeRequest request;
    request.set_name(name);
    request.set_new_name(new_name);
    ASSERT_THAT(
        TestServer::Call(&Stub::RenameVolume, server_.volumes(), request),
        IsOk());
  }
  void Delete(const std::string& name) {
    v1::DeleteVolumeRequest request;
    request.set_name(name);
    ASSERT_THAT(
        TestServer::Call(&Stub::DeleteVolume, server_.volumes(), request),
        IsOk());
  }
  // Something happens, `count` times.
  static void Happen(int count) {
    for (int i = 0; i < count; ++i) {
      LogEvent(ramvol::Event::kVolumeChanged, {.volume = "some"});
    }
  }

  TestServer server_;
};

TEST_F(EventWatchersTest, TellsTheLifeOfAVolume) {
  Watch watch(server_.volumes(), Following());
  ASSERT_TRUE(watch.Open());
  EXPECT_EQ(watch.first().last_sequence(), 0);
  const v1::Volume made = server_.CreateVolume("disk", 1 << 20);
  Rename("disk", "other");
  {
    const auto attachment = engine::Attachment::Make(
        server_.server().engine().Find("other").value(), {"nbd", "here"});
    ASSERT_THAT(attachment, IsOk());
  }
  v1::UpdateVolumeRequest update;
  update.set_name("other");
  update.mutable_volume()->set_read_only(true);
  update.mutable_update_mask()->add_paths("read_only");
  ASSERT_THAT(TestServer::Call(&Stub::UpdateVolume, server_.volumes(), update),
              IsOk());
  Delete("other");
  EXPECT_THAT(watch.Types(6),
              ElementsAre("volume_created disk", "volume_renamed other",
                          "attached other", "detached other",
                          "volume_changed other", "volume_deleted other"));
  int64_t sequence = 0;
  for (const v1::Event& event : watch.events()) {
    EXPECT_EQ(event.sequence(), ++sequence);
    EXPECT_EQ(event.uid(), made.uid());
    EXPECT_GT(event.time().seconds(), 0);
  }
  EXPECT_THAT(watch.events()[0].client(), HasSubstr("127.0.0.1:"));
  EXPECT_EQ(watch.events()[1].old_volume(), "disk");
  EXPECT_EQ(watch.events()[2].protocol(), "nbd");
  EXPECT_EQ(watch.events()[2].client(), "here");
}

TEST_F(EventWatchersTest, EndsUnlessItFollows) {
  server_.CreateVolume("a", 1);
  server_.CreateVolume("b", 1);
  Watch watch(server_.volumes(), {});
  EXPECT_THAT(watch.Finish(), IsOk());
  EXPECT_THAT(watch.Types(2),
              ElementsAre("volume_created a", "volume_created b"));
  v1::WatchEventsRequest later;
  later.mutable_since()->set_seconds(
      absl::ToUnixSeconds(absl::Now() + absl::Hours(1)));
  Watch none(server_.volumes(), later);
  EXPECT_THAT(none.Finish(), IsOk());
  EXPECT_THAT(none.events(), IsEmpty());
}

TEST_F(EventWatchersTest, GoesOnWhereAnotherEnded) {
  server_.CreateVolume("a", 1);
  Watch first(server_.volumes(), {});
  ASSERT_TRUE(first.Open());
  EXPECT_EQ(first.first().last_sequence(), 1);
  server_.CreateVolume("b", 1);
  v1::WatchEventsRequest request = Following();
  request.set_feed(first.first().feed());
  request.set_after_sequence(1);
  Watch second(server_.volumes(), request);
  EXPECT_THAT(second.Types(1), ElementsAre("volume_created b"));
  server_.CreateVolume("c", 1);
  EXPECT_THAT(second.Types(2),
              ElementsAre("volume_created b", "volume_created c"));

  request.set_after_sequence(4);
  EXPECT_THAT(Watch(server_.volumes(), request).Finish(),
              IsInvalidField("after_sequence"));
  request.set_after_sequence(-1);
  EXPECT_THAT(Watch(server_.volumes(), request).Finish(),
              IsInvalidField("after_sequence"));
  request.set_feed("of another server");
  EXPECT_THAT(Watch(server_.volumes(), request).Finish(),
              HasReason(absl::StatusCode::kOutOfRange, reason::kEventsLost));
}

TEST_F(EventWatchersTest, OnlyNewOnesAreTold) {
  server_.CreateVolume("a", 1);
  v1::WatchEventsRequest request = Following();
  request.set_only_new(true);
  Watch watch(server_.volumes(), request);
  ASSERT_TRUE(watch.Open());
  server_.CreateVolume("b", 1);
  EXPECT_THAT(watch.Types(1), ElementsAre("volume_created b"));
}

TEST_F(EventWatchersTest, OneWhoComesBackTooLateIsTold) {
  Happen(1);
  Watch watch(server_.volumes(), {});
  ASSERT_TRUE(watch.Open());
  Happen(static_cast<int>(EventFeed::kMaxEvents) + 1);
  v1::WatchEventsRequest request = Following();
  request.set_feed(watch.first().feed());
  request.set_after_sequence(1);
  EXPECT_THAT(Watch(server_.volumes(), request).Finish(),
              HasReason(absl::StatusCode::kOutOfRange, reason::kEventsLost));
}

// It does not read; the kernel's buffers and HTTP/2's window are full at last.
TEST_F(EventWatchersTest, ASlowOneIsToldThatItMissedSome) {
  Watch watch(server_.volumes(), Following());
  ASSERT_TRUE(watch.Open());
  const std::string text(EventFeed::kMaxMessageBytes, 'x');
  for (int i = 0; i < 100'000; ++i) {
    LogEvent(ramvol::Event::kVolumeChanged, {.volume = "a", .message = text});
  }
  EXPECT_THAT(watch.Finish(),
              HasReason(absl::StatusCode::kOutOfRange, reason::kEventsLost));
  int64_t sequence = 0;
  for (const v1::Event& event : watch.events()) {
    ASSERT_EQ(event.sequence(), ++sequence) << "it missed some unawares";
  }
  // All others go on.
  EXPECT_THAT(Watch(server_.volumes(), {}).Finish(), IsOk());
}

TEST_F(EventWatchersTest, TheyAreBoundedAndLeave) {
  // A single client has half of the places.
  std::vector<std::unique_ptr<Watch>> watches;
  absl::Status refused;
  std::vector<std::unique_ptr<Stub>> stubs;
  while (watches.size() < EventWatchers::kMaxWatchers && refused.ok()) {
    // A connection has less than its client.
    stubs.push_back(v1::VolumeService::NewStub(server_.NewChannel()));
    for (size_t i = 0; i < FairShare::kAlways && refused.ok(); ++i) {
      auto watch = std::make_unique<Watch>(*stubs.back(), Following());
      if (watch->Open()) {
        watches.push_back(std::move(watch));
      } else {
        refused = watch->Finish();
      }
    }
  }
  EXPECT_THAT(refused, HasReason(absl::StatusCode::kResourceExhausted,
                                 reason::kTooManyStreams));
  EXPECT_EQ(watches.size(), EventWatchers::kMaxWatchers / 2);
  for (const auto& watch : watches) watch->Cancel();
  for (const auto& watch : watches) {
    EXPECT_THAT(watch->Finish(),
                StatusIs(absl::StatusCode::kCancelled, ::testing::_));
  }
  // Their places are free once the server has seen it.
  const absl::Time deadline = absl::Now() + absl::Minutes(1);
  bool open = false;
  while (!open && absl::Now() < deadline) {
    open = Watch(*stubs.front(), Following()).Open();
  }
  EXPECT_TRUE(open);
}

TEST_F(EventWatchersTest, AllIsSentBeforeTheServerStops) {
  Watch watch(server_.volumes(), Following());
  ASSERT_TRUE(watch.Open());
  absl::Status end;
  std::thread reader([&] { end = watch.Finish(); });
  Happen(1000);
  server_.server().Shutdown(absl::Minutes(1));
  reader.join();
  EXPECT_THAT(end,
              HasReason(absl::StatusCode::kUnavailable, reason::kShuttingDown));
  EXPECT_EQ(watch.events().size(), 1000u);
}

}  // namespace
}  // namespace ramvol::service
