// BlockService.Io, by RPC against a whole server. The protocol's details are in
// io_session_test.cc.
#include "server/service/io_stream.h"

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/client_memory.h"
#include "base/mutex.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "proto/status.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "server/service/block_service.h"
#include "server/service/call_gate.h"
#include "server/service/catalog.h"
#include "server/service/executor.h"
#include "server/service/limits.h"
#include "tests/server/service/open_access.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_server.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::HasReason;
using ::ramvol::testing::IsInvalidField;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::ramvol::testing::TestServer;
using ::testing::HasSubstr;

constexpr int64_t kSize = int64_t{64} << 20;

// A client's side of one stream.
class Stream {
 public:
  explicit Stream(TestServer* server) : Stream(server->NewChannel()) {}
  explicit Stream(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::BlockService::NewStub(channel)),
        stream_(stub_->Io(&context_)) {}

  bool Send(const v1::IoRequest& request) { return stream_->Write(request); }
  // Sends the first message and takes `opened` in.
  void Open(const std::string& volume) {
    v1::IoRequest request;
    request.set_volume(volume);
    Open(request);
  }
  void Open(const v1::IoRequest& request) {
    ASSERT_TRUE(Send(request));
    v1::IoResponse response;
    ASSERT_TRUE(stream_->Read(&response));
    ASSERT_TRUE(response.has_opened());
    opened_ = response.opened();
  }
  const v1::IoOpened& opened() const { return opened_; }

  // Reads messages until there are at least `count` results.
  std::map<uint64_t, v1::IoResult> Results(size_t count) {
    std::map<uint64_t, v1::IoResult> results;
    v1::IoResponse response;
    while (results.size() < count && stream_->Read(&response)) {
      ++messages_;
      for (auto& result : *response.mutable_results()) {
        const uint64_t id = result.id();
        EXPECT_TRUE(results.emplace(id, std::move(result)).second)
            << "answered twice: " << id;
      }
    }
    EXPECT_GE(results.size(), count);
    return results;
  }
  int messages() const { return messages_; }

  void HalfClose() { stream_->WritesDone(); }
  void Cancel() { context_.TryCancel(); }
  // How the stream ends; reads what is left.
  absl::Status Finish() {
    v1::IoResponse response;
    while (stream_->Read(&response)) {
      left_ += static_cast<size_t>(response.results_size());
    }
    return FromGrpcStatus(stream_->Finish());
  }
  // Results that Finish read.
  size_t left() const { return left_; }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<v1::BlockService::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::IoRequest, v1::IoResponse>>
      stream_;
  v1::IoOpened opened_;
  int messages_ = 0;
  size_t left_ = 0;
};

class IoStreamTest : public ::testing::Test {
 protected:
  IoStreamTest() { server_.CreateVolume("disk", kSize); }

  // Waits until nobody is attached; fails after a minute.
  void ExpectDetached() {
    const absl::Time deadline = absl::Now() + absl::Minutes(1);
    while (server_.AttachedClients("disk") > 0) {
      ASSERT_LT(absl::Now(), deadline) << "still attached";
      std::this_thread::yield();
    }
  }

  TestServer server_;
};

// A first message that wants the volume for itself.
v1::IoRequest Alone(uint64_t client_id) {
  v1::IoRequest request;
  request.set_volume("disk");
  request.set_client_id(client_id);
  request.set_if_unattached(true);
  return request;
}

v1::IoOperation* AddWrite(v1::IoRequest* request, uint64_t id, int64_t offset,
                          std::string data) {
  v1::IoOperation* operation = request->add_operations();
  operation->set_id(id);
  operation->mutable_write()->set_offset(offset);
  operation->mutable_write()->set_data(std::move(data));
  return operation;
}

void AddRead(v1::IoRequest* request, uint64_t id, int64_t offset,
             int64_t length) {
  v1::IoOperation* operation = request->add_operations();
  operation->set_id(id);
  operation->mutable_read()->set_offset(offset);
  operation->mutable_read()->set_length(length);
}

TEST_F(IoStreamTest, WhoWantsToBeAloneIsRefusedWhileOthersAreThere) {
  Stream other(&server_);
  other.Open("disk");
  Stream refused(&server_);
  ASSERT_TRUE(refused.Send(Alone(7)));
  const absl::Status status = refused.Finish();
  EXPECT_THAT(status, HasReason(absl::StatusCode::kFailedPrecondition,
                                reason::kVolumeAttached));
  EXPECT_THAT(std::string(status.message()),
              ::testing::ContainsRegex(
                  "by 1 client \\(io 127.0.0.1:[0-9]+ since 20.*Z\\)"));
  other.HalfClose();
  EXPECT_THAT(other.Finish(), IsOk());
  ExpectDetached();
  // A client's own streams, and who comes later, do not count.
  Stream first(&server_);
  first.Open(Alone(7));
  Stream guest(&server_);
  guest.Open("disk");
  Stream second(&server_);
  second.Open(Alone(7));
  EXPECT_EQ(server_.AttachedClients("disk"), 2);
}

TEST_F(IoStreamTest, OpenedTellsTheVolume) {
  Stream stream(&server_);
  stream.Open("disk");
  EXPECT_EQ(stream.opened().size_bytes(), kSize);
  EXPECT_EQ(stream.opened().window_operations(), 256);
  EXPECT_EQ(stream.opened().uid().size(), 16);
  EXPECT_EQ(server_.AttachedClients("disk"), 1);
  stream.HalfClose();
  EXPECT_THAT(stream.Finish(), IsOk());
  EXPECT_EQ(server_.AttachedClients("disk"), 0);
}

TEST_F(IoStreamTest, EveryKindOfOperation) {
  Stream stream(&server_);
  stream.Open("disk");
  v1::IoRequest writes;
  AddWrite(&writes, 1, 0, "hello");
  AddWrite(&writes, 2, 65536, std::string(65536, 'x'));
  ASSERT_TRUE(stream.Send(writes));
  for (const auto& [id, result] : stream.Results(2)) {
    EXPECT_FALSE(result.has_error()) << id;
  }
  v1::IoRequest others;
  AddRead(&others, 3, 0, 5);
  v1::IoOperation* trim = others.add_operations();
  trim->set_id(4);
  trim->mutable_trim()->set_offset(65536);
  trim->mutable_trim()->set_length(4096);
  v1::IoOperation* zero = others.add_operations();
  zero->set_id(5);
  zero->mutable_write_zeroes()->set_offset(65536 + 8192);
  zero->mutable_write_zeroes()->set_length(4096);
  v1::IoOperation* flush = others.add_operations();
  flush->set_id(6);
  flush->mutable_flush();
  ASSERT_TRUE(stream.Send(others));
  auto results = stream.Results(4);
  EXPECT_EQ(results[3].data(), "hello");
  v1::IoRequest extents;
  v1::IoOperation* list = extents.add_operations();
  list->set_id(7);
  list->mutable_get_extents()->set_offset(65536);
  list->mutable_get_extents()->set_length(65536);
  ASSERT_TRUE(stream.Send(extents));
  results = stream.Results(1);
  ASSERT_EQ(results[7].extents_size(), 4);
  EXPECT_TRUE(results[7].extents(0).hole());
  EXPECT_EQ(results[7].next_offset(), 131072);
}

TEST_F(IoStreamTest, OneFailureLeavesTheOthers) {
  Stream stream(&server_);
  stream.Open("disk");
  v1::IoRequest request;
  AddRead(&request, 1, kSize, 1);
  AddRead(&request, 2, -1, 1);
  AddRead(&request, 3, 0, kMaxDataBytes + 1);
  AddRead(&request, 4, 0, 3);
  ASSERT_TRUE(stream.Send(request));
  auto results = stream.Results(4);
  EXPECT_THAT(FromRpcStatus(results[1].error()),
              HasReason(absl::StatusCode::kOutOfRange, reason::kPastEnd));
  EXPECT_THAT(FromRpcStatus(results[2].error()), IsInvalidField("offset"));
  EXPECT_THAT(
      FromRpcStatus(results[3].error()),
      HasReason(absl::StatusCode::kInvalidArgument, reason::kTooMuchData));
  EXPECT_EQ(results[1].data(), "");
  EXPECT_EQ(results[4].data(), std::string(3, '\0'));
}

TEST_F(IoStreamTest, FirstMessageMayCarryOperations) {
  Stream stream(&server_);
  v1::IoRequest request;
  request.set_volume("disk");
  for (uint64_t id = 0; id < kMaxFirstWindowOperations; ++id) {
    AddRead(&request, id, 0, 10);
  }
  ASSERT_TRUE(stream.Send(request));
  EXPECT_EQ(stream.Results(kMaxFirstWindowOperations).size(),
            kMaxFirstWindowOperations);
}

TEST_F(IoStreamTest, AFullWindowIsAnsweredInBatches) {
  Stream stream(&server_);
  stream.Open("disk");
  v1::IoRequest request;
  for (uint64_t id = 0; id < kMaxWindowOperations; ++id) {
    AddWrite(&request, id, static_cast<int64_t>(id) * 4096,
             std::string(4096, static_cast<char>(id)));
  }
  for (int round = 0; round < 10; ++round) {
    ASSERT_TRUE(stream.Send(request));
    stream.Results(kMaxWindowOperations);
  }
  EXPECT_LT(stream.messages(), 10 * static_cast<int>(kMaxWindowOperations));
  v1::IoRequest reads;
  for (uint64_t id = 0; id < kMaxWindowOperations; ++id) {
    AddRead(&reads, id, static_cast<int64_t>(id) * 4096, 4096);
  }
  ASSERT_TRUE(stream.Send(reads));
  for (const auto& [id, result] : stream.Results(kMaxWindowOperations)) {
    EXPECT_EQ(result.data(), std::string(4096, static_cast<char>(id)));
  }
}

TEST_F(IoStreamTest, AFullWindowOfBytesFitsOneMessage) {
  Stream stream(&server_);
  stream.Open("disk");
  v1::IoRequest request;
  AddWrite(&request, 1, 0, std::string(kMaxDataBytes, 'a'));
  AddWrite(&request, 2, kMaxDataBytes, std::string(kMaxDataBytes, 'b'));
  ASSERT_TRUE(stream.Send(request));
  EXPECT_FALSE(stream.Results(2)[2].has_error());
  v1::IoRequest reads;
  AddRead(&reads, 3, 0, kMaxDataBytes);
  AddRead(&reads, 4, kMaxDataBytes, kMaxDataBytes);
  ASSERT_TRUE(stream.Send(reads));
  auto results = stream.Results(2);
  EXPECT_TRUE(results[3].data() == std::string(kMaxDataBytes, 'a'));
  EXPECT_TRUE(results[4].data() == std::string(kMaxDataBytes, 'b'));
}

TEST_F(IoStreamTest, UnknownVolumeEndsTheStream) {
  Stream stream(&server_);
  v1::IoRequest request;
  request.set_volume("nope");
  AddRead(&request, 1, 0, 1);
  stream.Send(request);
  EXPECT_THAT(stream.Finish(),
              HasReason(absl::StatusCode::kNotFound, reason::kVolumeNotFound));
}

TEST_F(IoStreamTest, MalformedMessageEndsTheStreamAfterTheAnswers) {
  Stream stream(&server_);
  stream.Open("disk");
  v1::IoRequest good;
  for (uint64_t id = 0; id < 100; ++id) AddRead(&good, id, 0, 10000);
  ASSERT_TRUE(stream.Send(good));
  v1::IoRequest bad;
  bad.add_operations()->set_id(1000);
  ASSERT_TRUE(stream.Send(bad));
  EXPECT_THAT(stream.Finish(), IsInvalidField("operations[0]"));
  EXPECT_EQ(stream.left(), 100);
  EXPECT_EQ(server_.AttachedClients("disk"), 0);
}

TEST_F(IoStreamTest, FirstMessageWithoutVolumeEndsTheStream) {
  Stream stream(&server_);
  v1::IoRequest request;
  AddRead(&request, 1, 0, 1);
  stream.Send(request);
  EXPECT_THAT(stream.Finish(), IsInvalidField("volume"));
}

TEST_F(IoStreamTest, HalfCloseIsAnsweredInFull) {
  Stream stream(&server_);
  stream.Open("disk");
  v1::IoRequest request;
  for (uint64_t id = 0; id < kMaxWindowOperations; ++id) {
    AddWrite(&request, id, static_cast<int64_t>(id) * 65536,
             std::string(65536, 'x'));
  }
  ASSERT_TRUE(stream.Send(request));
  stream.HalfClose();
  EXPECT_THAT(stream.Finish(), IsOk());
  EXPECT_EQ(stream.left(), kMaxWindowOperations);
  EXPECT_EQ(server_.AttachedClients("disk"), 0);
}

TEST_F(IoStreamTest, NothingSentAtAllEndsWell) {
  Stream stream(&server_);
  stream.HalfClose();
  EXPECT_THAT(stream.Finish(), IsOk());
}

// A client that asks and does not read: the server keeps no more than the
// window for it, and says so.
TEST_F(IoStreamTest, SlowReaderRunsIntoTheWindow) {
  Stream stream(&server_);
  stream.Open("disk");
  uint64_t id = 0;
  for (int message = 0; message < 4; ++message) {
    v1::IoRequest request;
    for (size_t i = 0; i < kMaxWindowOperations; ++i) {
      AddRead(&request, ++id, 0,
              kMaxWindowBytes / static_cast<int64_t>(kMaxWindowOperations));
    }
    if (!stream.Send(request)) break;
  }
  EXPECT_THAT(stream.Finish(), HasReason(absl::StatusCode::kFailedPrecondition,
                                         reason::kWindowExceeded));
  EXPECT_GE(stream.left(), kMaxWindowOperations);
  EXPECT_LT(stream.left(), 4 * kMaxWindowOperations);
}

TEST_F(IoStreamTest, DeathInMidStreamReleasesTheVolume) {
  for (int round = 0; round < 20; ++round) {
    Stream stream(&server_);
    stream.Open("disk");
    v1::IoRequest request;
    for (uint64_t id = 0; id < 100; ++id) {
      AddWrite(&request, id, static_cast<int64_t>(id) * 65536,
               std::string(65536, 'x'));
      AddRead(&request, 1000 + id, 0, 65536);
    }
    ASSERT_TRUE(stream.Send(request));
    // At different moments of the answering.
    stream.Results(static_cast<size_t>(round));
    stream.Cancel();
    EXPECT_THAT(stream.Finish(),
                StatusIs(absl::StatusCode::kCancelled, ::testing::_));
  }
  ExpectDetached();
  v1::DeleteVolumeRequest request;
  request.set_name("disk");
  EXPECT_THAT(TestServer::Call(&v1::VolumeService::Stub::DeleteVolume,
                               server_.volumes(), request),
              IsOk());
}

TEST_F(IoStreamTest, ManyStreamsAtOnce) {
  constexpr int kStreams = 8;
  constexpr int kRounds = 30;
  std::vector<std::thread> threads;
  for (int t = 0; t < kStreams; ++t) {
    threads.emplace_back([this, t] {
      Stream stream(&server_);
      stream.Open("disk");
      const std::string data(4096, static_cast<char>('a' + t));
      for (int round = 0; round < kRounds; ++round) {
        v1::IoRequest writes;
        v1::IoRequest reads;
        for (uint64_t id = 0; id < 16; ++id) {
          const int64_t offset = (t * 16 + static_cast<int64_t>(id)) * 4096;
          AddWrite(&writes, id, offset, data);
          AddRead(&reads, id, offset, 4096);
        }
        stream.Send(writes);
        stream.Results(16);
        stream.Send(reads);
        for (const auto& [id, result] : stream.Results(16)) {
          EXPECT_EQ(result.data(), data) << id;
        }
      }
      stream.HalfClose();
      EXPECT_THAT(stream.Finish(), IsOk());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(server_.AttachedClients("disk"), 0);
}

TEST_F(IoStreamTest, ShutdownAnswersAndSaysSo) {
  Stream idle(&server_);
  idle.Open("disk");
  Stream busy(&server_);
  busy.Open("disk");
  v1::IoRequest request;
  for (uint64_t id = 0; id < 200; ++id) AddRead(&request, id, 0, 100000);
  ASSERT_TRUE(busy.Send(request));
  const size_t before = busy.Results(1).size();
  std::thread shutdown([this] { server_.server().Shutdown(absl::Minutes(1)); });
  EXPECT_THAT(busy.Finish(),
              HasReason(absl::StatusCode::kUnavailable, reason::kShuttingDown));
  EXPECT_EQ(busy.left(), 200 - before);
  EXPECT_THAT(idle.Finish(),
              HasReason(absl::StatusCode::kUnavailable, reason::kShuttingDown));
  shutdown.join();
}

v1::IoRequest FirstMessage(uint64_t stream_id,
                           const std::vector<uint64_t>& replaces = {}) {
  v1::IoRequest request;
  request.set_volume("disk");
  request.set_stream_id(stream_id);
  for (const uint64_t id : replaces) request.add_replaces(id);
  return request;
}

TEST_F(IoStreamTest, ReplacingUnknownStreamsIsFine) {
  Stream stream(&server_);
  stream.Open(FirstMessage(1, {2, 3, 1}));
  stream.HalfClose();
  EXPECT_THAT(stream.Finish(), IsOk());
}

TEST_F(IoStreamTest, ReplacesAreBounded) {
  Stream stream(&server_);
  stream.Send(FirstMessage(
      1, std::vector<uint64_t>(static_cast<size_t>(kMaxReplacedStreams) + 1)));
  EXPECT_THAT(stream.Finish(), IsInvalidField("replaces"));
}

TEST_F(IoStreamTest, AStreamIdIsOneStreams) {
  Stream first(&server_);
  first.Open(FirstMessage(1));
  Stream second(&server_);
  second.Send(FirstMessage(1));
  EXPECT_THAT(second.Finish(), IsInvalidField("stream_id"));
  first.HalfClose();
  EXPECT_THAT(first.Finish(), IsOk());
  // The server lets go of it soon after it has told how it ended.
  const absl::Time deadline = absl::Now() + absl::Minutes(1);
  absl::Status reused;
  do {
    Stream third(&server_);
    third.Send(FirstMessage(1));
    third.HalfClose();
    reused = third.Finish();
  } while (!reused.ok() && absl::Now() < deadline);
  EXPECT_THAT(reused, IsOk());
}

// As when the server does not know yet that the old connection is dead: it is
// idle, and nobody closes it.
TEST_F(IoStreamTest, FindsARenamedVolumeByItsUid) {
  Stream stream(&server_);
  stream.Open("disk");
  v1::RenameVolumeRequest rename;
  rename.set_name("disk");
  rename.set_new_name("other");
  ASSERT_THAT(TestServer::Call(&v1::VolumeService::Stub::RenameVolume,
                               server_.volumes(), rename),
              IsOk());
  v1::IoRequest write;
  AddWrite(&write, 1, 0, "still there");
  ASSERT_TRUE(stream.Send(write));
  EXPECT_FALSE(stream.Results(1)[1].has_error());

  v1::IoRequest again;
  again.set_volume("disk");
  again.set_uid(stream.opened().uid());
  server_.CreateVolume("disk", kSize);
  Stream reopened(&server_);
  reopened.Open(again);
  EXPECT_EQ(reopened.opened().uid(), stream.opened().uid());
  // Without one of this uid, the name counts.
  again.set_uid("0123456789abcdef");
  Stream by_name(&server_);
  by_name.Open(again);
  EXPECT_NE(by_name.opened().uid(), stream.opened().uid());
  again.set_volume("gone");
  Stream none(&server_);
  ASSERT_TRUE(none.Send(again));
  EXPECT_THAT(none.Finish(),
              HasReason(absl::StatusCode::kNotFound, reason::kVolumeNotFound));
}

TEST_F(IoStreamTest, AHalfOpenStreamIsReplaced) {
  Stream old(&server_);
  old.Open(FirstMessage(1));
  v1::IoRequest reads;
  for (uint64_t id = 0; id < 64; ++id) AddRead(&reads, id, 0, 256 << 10);
  // Its answers fill the connection, since nobody reads them.
  ASSERT_TRUE(old.Send(reads));
  Stream fresh(&server_);
  fresh.Open(FirstMessage(2, {1}));
  EXPECT_THAT(old.Finish(),
              StatusIs(absl::StatusCode::kCancelled, ::testing::_));
  fresh.HalfClose();
  EXPECT_THAT(fresh.Finish(), IsOk());
  ExpectDetached();
}

TEST_F(IoStreamTest, StreamsOfOneClientCountOnce) {
  v1::IoRequest request;
  request.set_volume("disk");
  request.set_client_id(7);
  Stream first(&server_);
  first.Open(request);
  Stream second(&server_);
  second.Open(request);
  EXPECT_EQ(server_.AttachedClients("disk"), 1);
  request.set_client_id(8);
  Stream other(&server_);
  other.Open(request);
  EXPECT_EQ(server_.AttachedClients("disk"), 2);
  first.HalfClose();
  EXPECT_THAT(first.Finish(), IsOk());
  EXPECT_EQ(server_.AttachedClients("disk"), 2);
  second.HalfClose();
  EXPECT_THAT(second.Finish(), IsOk());
  EXPECT_EQ(server_.AttachedClients("disk"), 1);
}

// A service whose writes stop before they begin until they are let go.
class ReplaceTest : public ::testing::Test {
 protected:
  ReplaceTest() {
    engine::EngineOptions options;
    options.memory_limit_bytes = 64 << 20;
    options.background_threads = 1;
    engine_ = *engine::Engine::Create(options);
    catalog_ = std::make_unique<Catalog>(engine_.get());
    engine::VolumeOptions volume;
    volume.name = "disk";
    volume.size_bytes = kSize;
    volume_ = *engine_->CreateVolume(volume);
    executor_ = std::make_unique<Executor>(1);
    access_ = std::make_unique<OpenAccess>(engine_.get(), catalog_.get());
    service_ = std::make_unique<BlockService>(engine_.get(), catalog_.get(),
                                              executor_.get(), &gate_,
                                              access_->get(), memory_);
    service_->SetOperationHookForTest([this](const v1::IoOperation& operation) {
      if (operation.has_write()) Stop();
    });
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
  }

  ~ReplaceTest() override {
    LetGo();
    server_->Shutdown();
  }

  std::shared_ptr<grpc::Channel> NewChannel() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port_),
                                     grpc::InsecureChannelCredentials(),
                                     arguments);
  }

  void Stop() {
    MutexLock lock(&mu_);
    ++stopped_;
    changed_.SignalAll();
    while (!let_go_) changed_.Wait(&mu_);
  }
  void AwaitStopped(int count) {
    MutexLock lock(&mu_);
    while (stopped_ < count) changed_.Wait(&mu_);
  }
  int stopped() {
    MutexLock lock(&mu_);
    return stopped_;
  }
  void LetGo() {
    MutexLock lock(&mu_);
    let_go_ = true;
    changed_.SignalAll();
  }

  std::string Content(size_t length) {
    std::string content(length, ' ');
    EXPECT_THAT(volume_->Read(0, absl::MakeSpan(content.data(), length)),
                IsOk());
    return content;
  }

  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<Catalog> catalog_;
  std::shared_ptr<engine::Volume> volume_;
  std::unique_ptr<Executor> executor_;
  CallGate gate_;
  std::shared_ptr<ClientMemory> memory_ =
      std::make_shared<ClientMemory>(ClientMemory::Options());
  std::unique_ptr<OpenAccess> access_;
  std::unique_ptr<BlockService> service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;

  Mutex mu_;
  CondVar changed_;
  int stopped_ ABSL_GUARDED_BY(mu_) = 0;
  bool let_go_ ABSL_GUARDED_BY(mu_) = false;
};

TEST_F(ReplaceTest, ARunningWriteHoldsBackOpened) {
  Stream old(NewChannel());
  old.Open(FirstMessage(1));
  v1::IoRequest writes;
  for (uint64_t id = 0; id < 10; ++id) {
    AddWrite(&writes, id, static_cast<int64_t>(id), "o");
  }
  ASSERT_TRUE(old.Send(writes));
  AwaitStopped(1);

  Stream fresh(NewChannel());
  v1::IoRequest first = FirstMessage(2, {1});
  AddRead(&first, 1, 0, 10);
  ASSERT_TRUE(fresh.Send(first));
  // Tells that the server has taken the message up.
  EXPECT_THAT(old.Finish(),
              StatusIs(absl::StatusCode::kCancelled, ::testing::_));
  std::atomic<bool> let_go = false;
  std::thread reader([&] {
    auto results = fresh.Results(1);
    EXPECT_TRUE(let_go) << "opened while a replaced write ran";
    // The one that ran was finished, and none was begun.
    EXPECT_EQ(results[1].data(), absl::StrCat("o", std::string(9, '\0')));
  });
  EXPECT_EQ(volume_->Stats().attached_clients, 2);
  let_go = true;
  LetGo();
  reader.join();
  EXPECT_EQ(stopped(), 1);
  EXPECT_EQ(Content(10), absl::StrCat("o", std::string(9, '\0')));
}

TEST_F(ReplaceTest, TwoMayReplaceOne) {
  Stream old(NewChannel());
  old.Open(FirstMessage(1));
  v1::IoRequest write;
  AddWrite(&write, 1, 0, "o");
  ASSERT_TRUE(old.Send(write));
  AwaitStopped(1);
  Stream second(NewChannel());
  ASSERT_TRUE(second.Send(FirstMessage(2, {1})));
  EXPECT_THAT(old.Finish(),
              StatusIs(absl::StatusCode::kCancelled, ::testing::_));
  // The second is lost before it was open; the third replaces both.
  Stream third(NewChannel());
  ASSERT_TRUE(third.Send(FirstMessage(3, {1, 2})));
  EXPECT_THAT(second.Finish(),
              StatusIs(absl::StatusCode::kCancelled, ::testing::_));
  LetGo();
  v1::IoRequest read;
  AddRead(&read, 1, 0, 1);
  ASSERT_TRUE(third.Send(read));
  EXPECT_EQ(third.Results(1)[1].data(), "o");
}

}  // namespace
}  // namespace ramvol::service
