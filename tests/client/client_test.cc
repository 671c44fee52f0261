// The SDK against a small server over real gRPC on a Unix socket.
#include "client/client.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "base/reason.h"
#include "client/extent.h"
#include "client/options.h"
#include "client/remote_volume.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/client/fake_grpc_server.h"
#include "tests/support/temp_dir.h"

namespace ramvol {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr int64_t kMiB = int64_t{1} << 20;

class ClientTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(server_.Start(address_)); }

  ClientOptions Options() const {
    ClientOptions options;
    options.server = address_;
    return options;
  }

  RemoteVolume OpenOrDie(const Client& client) {
    absl::StatusOr<RemoteVolume> volume = client.Open("scratch");
    // Where a test has short timeouts, a busy machine needs more than one.
    while (absl::IsUnavailable(volume.status()) ||
           absl::IsDeadlineExceeded(volume.status())) {
      volume = client.Open("scratch");
    }
    EXPECT_TRUE(volume.ok()) << volume.status();
    if (!volume.ok()) std::abort();
    return *std::move(volume);
  }

  static v1::CreateVolumeRequest NewVolume(const std::string& name) {
    v1::CreateVolumeRequest request;
    request.set_name(name);
    request.set_size_bytes(kMiB);
    return request;
  }

  static v1::DeleteVolumeRequest OldVolume(const std::string& name) {
    v1::DeleteVolumeRequest request;
    request.set_name(name);
    return request;
  }

  const testing::TempDir dir_ = testing::TempDir::ForSockets();
  const std::string address_ = "unix:" + dir_.path() + "/s";
  FakeGrpcServer server_;
};

TEST_F(ClientTest, ManagesVolumes) {
  const Client client(Options());
  for (const char* name : {"a", "b", "c", "d", "e"}) {
    absl::StatusOr<v1::Volume> made = client.CreateVolume(NewVolume(name));
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_EQ(made->name(), name);
  }
  absl::StatusOr<std::vector<v1::Volume>> all = client.ListVolumes();
  ASSERT_TRUE(all.ok()) << all.status();
  ASSERT_THAT(*all, SizeIs(5));
  EXPECT_EQ(all->back().name(), "e");
  EXPECT_TRUE(
      absl::IsAlreadyExists(client.CreateVolume(NewVolume("a")).status()));
  absl::StatusOr<v1::Volume> missing = client.GetVolume("x");
  EXPECT_TRUE(absl::IsNotFound(missing.status()));
  EXPECT_EQ(GetReason(missing.status()), reason::kVolumeNotFound);
  v1::UpdateVolumeRequest update;
  update.set_name("a");
  update.mutable_volume()->set_size_bytes(4096);
  update.mutable_update_mask()->add_paths("size_bytes");
  EXPECT_EQ(client.UpdateVolume(update)->size_bytes(), 4096);
  EXPECT_EQ(client.StatVolume("a")->size_bytes(), 4096);
  EXPECT_EQ(client.GetServerInfo()->version(), "9.8.7");
  EXPECT_TRUE(client.DeleteVolume(OldVolume("a")).ok());
  EXPECT_TRUE(absl::IsNotFound(client.DeleteVolume(OldVolume("a"))));
}

TEST_F(ClientTest, HealthIsOkOnlyWhileServing) {
  const Client client(Options());
  EXPECT_TRUE(client.CheckHealth().ok()) << client.CheckHealth();
  server_.SetServing(false);
  const absl::Status stopping = client.CheckHealth();
  EXPECT_TRUE(absl::IsFailedPrecondition(stopping)) << stopping;
  EXPECT_THAT(stopping.message(), HasSubstr("NOT_SERVING"));
  ClientOptions options = Options();
  options.reconnect_timeout = absl::ZeroDuration();
  server_.Stop();
  EXPECT_TRUE(absl::IsUnavailable(Client(options).CheckHealth()));
}

TEST_F(ClientTest, RetriesWhatTheServerCouldNotTake) {
  const Client client(Options());
  server_.FailControlCall(1, absl::UnavailableError("busy"), false);
  EXPECT_TRUE(client.GetServerInfo().ok());
  EXPECT_EQ(server_.control_calls(), 2);
}

TEST_F(ClientTest, OtherErrorsAreNotRetried) {
  const Client client(Options());
  server_.FailControlCall(1, absl::ResourceExhaustedError("full"), false);
  EXPECT_TRUE(absl::IsResourceExhausted(client.GetServerInfo().status()));
  EXPECT_EQ(server_.control_calls(), 1);
}

TEST_F(ClientTest, ARepeatedCreateWhoseAnswerWasLostSucceeds) {
  const Client client(Options());
  server_.FailControlCall(1, absl::UnavailableError("lost"), true);
  absl::StatusOr<v1::Volume> made = client.CreateVolume(NewVolume("a"));
  EXPECT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(server_.control_calls(), 2);
  const std::string first_id = server_.volumes().last_create.request_id();
  EXPECT_THAT(first_id, SizeIs(32));
  ASSERT_TRUE(client.CreateVolume(NewVolume("b")).ok());
  EXPECT_NE(server_.volumes().last_create.request_id(), first_id);
}

TEST_F(ClientTest, ACallersRequestIdIsKept) {
  const Client client(Options());
  v1::CreateVolumeRequest request = NewVolume("a");
  request.set_request_id("mine");
  ASSERT_TRUE(client.CreateVolume(request).ok());
  EXPECT_EQ(server_.volumes().last_create.request_id(), "mine");
}

TEST_F(ClientTest, ARepeatedDeleteWhoseAnswerWasLostSucceeds) {
  server_.volumes().Add("a", 1);
  const Client client(Options());
  server_.FailControlCall(1, absl::UnavailableError("lost"), true);
  EXPECT_TRUE(client.DeleteVolume(OldVolume("a")).ok());
  EXPECT_TRUE(absl::IsNotFound(client.DeleteVolume(OldVolume("a"))));
}

TEST_F(ClientTest, ARenameWhoseAnswerWasLostIsDone) {
  server_.volumes().Add("a", 1);
  const Client client(Options());
  server_.FailControlCall(1, absl::UnavailableError("lost"), true);
  v1::RenameVolumeRequest request;
  request.set_name("a");
  request.set_new_name("b");
  absl::StatusOr<v1::Volume> renamed = client.RenameVolume(request);
  ASSERT_TRUE(renamed.ok()) << renamed.status();
  EXPECT_EQ(renamed->name(), "b");
  // Another one is no repetition.
  EXPECT_TRUE(absl::IsNotFound(client.RenameVolume(request).status()));
}

TEST_F(ClientTest, EventsComeUntilTheStreamEnds) {
  v1::WatchEventsResponse message;
  message.set_feed("f");
  message.add_events()->set_sequence(1);
  server_.volumes().events = {message, message};
  const Client client(Options());
  v1::WatchEventsRequest request;
  request.set_after_sequence(7);
  auto watch = client.WatchEvents(request);
  ASSERT_TRUE(watch.ok());
  for (int i = 0; i < 2; ++i) {
    const auto next = (*watch)->Next();
    ASSERT_TRUE(next.ok() && next->has_value()) << next.status();
    EXPECT_EQ((*next)->feed(), "f");
  }
  EXPECT_EQ(server_.volumes().last_watch.after_sequence(), 7);
  EXPECT_FALSE((*watch)->Next()->has_value());
  EXPECT_FALSE((*watch)->Next()->has_value());

  server_.volumes().events_end =
      WithReason(absl::OutOfRangeError("gone"), reason::kEventsLost);
  watch = client.WatchEvents(request);
  EXPECT_TRUE((*watch)->Next().ok());
  EXPECT_TRUE((*watch)->Next().ok());
  EXPECT_EQ(GetReason((*watch)->Next().status()), reason::kEventsLost);
}

TEST_F(ClientTest, AWatchCanBeCancelledAndDropped) {
  server_.volumes().events = {{}};
  const Client client(Options());
  v1::WatchEventsRequest request;
  request.set_follow(true);
  const auto watch = client.WatchEvents(request);
  ASSERT_TRUE(watch.ok());
  EXPECT_TRUE((*watch)->Next().ok());
  std::thread canceller([&] { (*watch)->Cancel(); });
  EXPECT_TRUE(absl::IsCancelled((*watch)->Next().status()));
  canceller.join();
  // Its stream ends with it.
  const auto dropped = client.WatchEvents(request);
  EXPECT_TRUE((*dropped)->Next().ok());
}

TEST_F(ClientTest, ServerThatIsNotThereIsUnavailable) {
  server_.Stop();
  ClientOptions options = Options();
  options.reconnect_timeout = absl::ZeroDuration();
  const Client client(options);
  absl::Status status = client.GetServerInfo().status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  status = client.Open("scratch").status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr(address_));
  EXPECT_TRUE(absl::IsUnavailable(client.DeleteVolume(OldVolume("a"))));
}

TEST_F(ClientTest, ADeleteThatFoundNoServerIsNotTakenForDone) {
  server_.Stop();
  const Client client(Options());
  absl::Status status;
  std::thread caller(
      [&] { status = client.DeleteVolume(OldVolume("never-was")); });
  ASSERT_TRUE(server_.Start(address_));
  caller.join();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
}

TEST_F(ClientTest, OpeningAnUnknownVolumeIsNotFound) {
  const Client client(Options());
  absl::Status status = client.Open("scratch").status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_EQ(GetReason(status), reason::kVolumeNotFound);
}

TEST_F(ClientTest, ReadsBackWhatItWrites) {
  server_.volumes().Add("scratch", 64 * kMiB);
  const Client client(Options());
  const RemoteVolume volume = OpenOrDie(client);
  EXPECT_EQ(volume.size_bytes(), 64 * kMiB);
  EXPECT_FALSE(volume.read_only());
  absl::BitGen random;
  std::string data;
  for (int i = 0; i < 5 * kMiB + 77; ++i) {
    data.push_back(static_cast<char>(absl::Uniform<uint8_t>(random)));
  }
  ASSERT_TRUE(volume.Write(12345, data).ok());
  ASSERT_TRUE(volume.Flush().ok());
  absl::StatusOr<std::string> back = volume.Read(12345, data.size());
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_TRUE(*back == data);
  EXPECT_TRUE(server_.volumes().data("scratch").Content(
                  12345, static_cast<int64_t>(data.size())) == data);
  ASSERT_TRUE(volume.Trim(0, 20000).ok());
  ASSERT_TRUE(volume.WriteZeroes(20000, 1, /*no_hole=*/true).ok());
  EXPECT_EQ(*volume.Read(12345, 10000),
            std::string(7656, '\0') + data.substr(7656, 2344));
  EXPECT_EQ(*volume.Read(0, 0), "");
  // More than the check of long reads.
  EXPECT_THAT(*volume.Read(0, 17 * kMiB), SizeIs(17 * kMiB));
}

TEST_F(ClientTest, ListsExtentsOverPages) {
  server_.volumes().Add("scratch", 64 << 10);
  const RemoteVolume volume = OpenOrDie(Client(Options()));
  for (int64_t offset : {4096, 12288, 16384, 40960}) {
    ASSERT_TRUE(volume.Write(offset, "x").ok());
  }
  const std::vector<Extent> expected = {
      {0, 4096, true},      {4096, 4096, false},  {8192, 4096, true},
      {12288, 8192, false}, {20480, 20480, true}, {40960, 4096, false},
      {45056, 20480, true}};
  absl::StatusOr<std::vector<Extent>> extents = volume.Extents(0, 64 << 10);
  ASSERT_TRUE(extents.ok()) << extents.status();
  EXPECT_EQ(*extents, expected);
  extents = volume.Extents(0, 0);
  ASSERT_TRUE(extents.ok()) << extents.status();
  EXPECT_EQ(*extents, expected) << "0 means up to the end";
  EXPECT_THAT(*volume.Extents(4096, 10), ElementsAre(Extent{4096, 10, false}));
}

TEST_F(ClientTest, ErrorsKeepCodeAndReason) {
  server_.volumes().Add("scratch", kMiB);
  const RemoteVolume volume = OpenOrDie(Client(Options()));
  absl::Status past = volume.Write(kMiB - 1, "ab");
  EXPECT_TRUE(absl::IsOutOfRange(past)) << past;
  EXPECT_EQ(GetReason(past), reason::kPastEnd);
  EXPECT_TRUE(absl::IsOutOfRange(volume.Read(0, INT64_MAX).status()));
  EXPECT_TRUE(absl::IsOutOfRange(volume.Read(2, INT64_MAX).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(volume.Read(0, -1).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(volume.Trim(-1, 5)));
  EXPECT_TRUE(volume.Write(kMiB - 1, "a").ok()) << "the stream goes on";
}

TEST_F(ClientTest, ManyThreadsAndAsynchronousCallsAtOnce) {
  server_.volumes().Add("scratch", 4 * kMiB);
  const RemoteVolume volume = OpenOrDie(Client(Options()));
  constexpr int kThreads = 4;
  constexpr int kOperations = 500;
  std::atomic<int> done = 0;
  std::vector<std::thread> threads;
  std::vector<std::string> data(256, std::string(4096, ' '));
  for (int i = 0; i < 256; ++i) data[i].assign(4096, static_cast<char>(i));
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kOperations; ++i) {
        const int block = (t * kOperations + i) % 1024;
        volume.WriteAsync(int64_t{block} * 4096, data[block % 256],
                          [&](const absl::Status& status) {
                            EXPECT_TRUE(status.ok()) << status;
                            ++done;
                          });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // Operations finish in any order: wait by reading, then by counting.
  while (done < kThreads * kOperations) ASSERT_TRUE(volume.Flush().ok());
  for (int block = 0; block < 1024; ++block) {
    ASSERT_TRUE(*volume.Read(int64_t{block} * 4096, 4096) == data[block % 256]);
  }
}

TEST_F(ClientTest, SurvivesStreamsThatBreak) {
  server_.volumes().Add("scratch", kMiB);
  const RemoteVolume volume = OpenOrDie(Client(Options()));
  server_.BreakStreamsEvery(7);
  for (int i = 0; i < 100; ++i) {
    const std::string data(1000, static_cast<char>(i));
    absl::Status written = volume.Write(i * 1000, data);
    ASSERT_TRUE(written.ok()) << written;
    absl::StatusOr<std::string> back = volume.Read(i * 1000, 1000);
    ASSERT_TRUE(back.ok()) << back.status();
    ASSERT_TRUE(*back == data);
  }
}

TEST_F(ClientTest, SurvivesARestartOfTheServer) {
  server_.volumes().Add("scratch", kMiB);
  const RemoteVolume volume = OpenOrDie(Client(Options()));
  ASSERT_TRUE(volume.Write(0, "before").ok());
  server_.SetMute(true);
  absl::Status status = absl::UnknownError("not called");
  std::thread writer([&] { status = volume.Write(6, " and after"); });
  server_.AwaitReceived(2);
  server_.Stop();
  server_.SetMute(false);
  ASSERT_TRUE(server_.Start(address_));
  writer.join();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(*volume.Read(0, 16), "before and after");
}

TEST_F(ClientTest, ManyRestartsUnderLoadLoseNothing) {
  server_.volumes().Add("scratch", kMiB);
  const RemoteVolume volume = OpenOrDie(Client(Options()));
  std::atomic<bool> stop = false;
  std::atomic<int> written = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; !stop; ++i) {
        const std::string data(4096, static_cast<char>(i));
        absl::Status status = volume.Write(t * 4096, data);
        ASSERT_TRUE(status.ok()) << status;
        absl::StatusOr<std::string> back = volume.Read(t * 4096, 4096);
        ASSERT_TRUE(back.ok()) << back.status();
        ASSERT_TRUE(*back == data);
        ++written;
      }
    });
  }
  for (int i = 0; i < 5; ++i) {
    const int before = written;
    while (written < before + 20) std::this_thread::yield();
    server_.Stop();
    ASSERT_TRUE(server_.Start(address_));
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

TEST_F(ClientTest, AVolumeReplacedByARestartIsAborted) {
  server_.volumes().Add("scratch", kMiB);
  const Client client(Options());
  const RemoteVolume volume = OpenOrDie(client);
  ASSERT_TRUE(volume.Write(0, "x").ok());
  server_.Stop();
  server_.volumes().Wipe();
  server_.volumes().Add("scratch", kMiB);
  ASSERT_TRUE(server_.Start(address_));
  absl::Status status = volume.Write(0, "y");
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  EXPECT_EQ(GetReason(status), reason::kVolumeReplaced);
  EXPECT_EQ(server_.volumes().data("scratch").allocated_bytes(), 0);
  EXPECT_TRUE(OpenOrDie(client).Write(0, "z").ok());
}

TEST_F(ClientTest, AVolumeLostByARestartIsNotFound) {
  server_.volumes().Add("scratch", kMiB);
  const RemoteVolume volume = OpenOrDie(Client(Options()));
  server_.Stop();
  server_.volumes().Wipe();
  ASSERT_TRUE(server_.Start(address_));
  EXPECT_TRUE(absl::IsNotFound(volume.Write(0, "y")));
}

TEST_F(ClientTest, AServerThatStaysAwayIsUnavailable) {
  server_.volumes().Add("scratch", kMiB);
  ClientOptions options = Options();
  options.reconnect_timeout = absl::Milliseconds(50);
  const RemoteVolume volume = OpenOrDie(Client(options));
  server_.Stop();
  EXPECT_TRUE(absl::IsUnavailable(volume.Write(0, "y")));
  EXPECT_TRUE(absl::IsUnavailable(volume.Write(0, "y")));
  ASSERT_TRUE(server_.Start(address_));
  // gRPC's own pause between attempts may still be running.
  absl::Status status = volume.Write(0, "y");
  while (absl::IsUnavailable(status)) status = volume.Write(0, "y");
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(ClientTest, AServerThatStopsAnsweringExceedsTheDeadline) {
  server_.volumes().Add("scratch", kMiB);
  ClientOptions options = Options();
  options.timeout = absl::Milliseconds(200);
  const RemoteVolume volume = OpenOrDie(Client(options));
  server_.SetMute(true);
  absl::Status status = volume.Write(0, "y");
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  server_.SetMute(false);
  status = volume.Flush();
  while (absl::IsDeadlineExceeded(status)) status = volume.Flush();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(ClientTest, ClientAndVolumeMayGoWhileOperationsRun) {
  server_.volumes().Add("scratch", kMiB);
  Mutex mu;
  CondVar changed;
  int done = 0;
  const std::string data(4096, 'x');
  {
    const RemoteVolume volume = OpenOrDie(Client(Options()));
    for (int i = 0; i < 100; ++i) {
      volume.WriteAsync(i * 4096, data, [&](const absl::Status& status) {
        EXPECT_TRUE(status.ok()) << status;
        MutexLock lock(&mu);
        ++done;
        changed.Signal();
      });
    }
  }
  MutexLock lock(&mu);
  while (done < 100) changed.Wait(&mu);
}

TEST_F(ClientTest, StrangeOptionsAreMadeSensible) {
  server_.volumes().Add("scratch", kMiB);
  ClientOptions options = Options();
  options.channels = -3;
  options.max_inflight_bytes = 0;
  options.initial_backoff = absl::ZeroDuration();
  options.max_backoff = -absl::InfiniteDuration();
  options.timeout = absl::InfiniteDuration();
  const RemoteVolume volume = OpenOrDie(Client(options));
  EXPECT_TRUE(volume.Write(0, std::string(300000, 'x')).ok());
}

}  // namespace
}  // namespace ramvol
