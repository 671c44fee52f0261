// What BlockService does when client memory is short, by RPC. How memory is
// shared is tested in client_memory_test.cc, whole attacks in
// tests/integration/client_memory_test.py.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/client_memory.h"
#include "gmock/gmock.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/service/block_service.h"
#include "server/service/call_gate.h"
#include "server/service/catalog.h"
#include "server/service/executor.h"
#include "tests/server/service/open_access.h"

namespace ramvol::service {
namespace {

using ::testing::HasSubstr;

constexpr size_t kMib = size_t{1} << 20;

class NoClient final : public ClientMemory::Client {
 public:
  std::function<void()> SendAway() override { return nullptr; }
};

class SlowClientTest : public ::testing::Test {
 protected:
  SlowClientTest() {
    engine::EngineOptions options;
    options.memory_limit_bytes = 64 << 20;
    options.background_threads = 1;
    engine_ = *engine::Engine::Create(options);
    catalog_ = std::make_unique<Catalog>(engine_.get());
    engine::VolumeOptions volume;
    volume.name = "disk";
    volume.size_bytes = 64 << 20;
    EXPECT_TRUE(engine_->CreateVolume(volume).ok());
    executor_ = std::make_unique<Executor>(1);
    access_ = std::make_unique<OpenAccess>(engine_.get(), catalog_.get());
    service_ = std::make_unique<BlockService>(engine_.get(), catalog_.get(),
                                              executor_.get(), &gate_,
                                              access_->get(), memory_);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = NewStub();
  }
  ~SlowClientTest() override { server_->Shutdown(); }

  static ClientMemory::Options Options() {
    ClientMemory::Options options;
    options.limit_bytes = 16 * kMib;
    options.max_stall = absl::Milliseconds(1);
    options.sweep_interval = absl::Milliseconds(10);
    return options;
  }

  // With a connection of its own.
  std::unique_ptr<v1::BlockService::Stub> NewStub() const {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return v1::BlockService::NewStub(grpc::CreateCustomChannel(
        "127.0.0.1:" + std::to_string(port_),
        grpc::InsecureChannelCredentials(), arguments));
  }

  // Waits until `count` clients wait for memory; fails after a minute.
  void ExpectWaiting(size_t count) {
    const absl::Time deadline = absl::Now() + absl::Minutes(1);
    while (memory_->GetStats().waiting != count) {
      ASSERT_LT(absl::Now(), deadline) << memory_->GetStats().waiting;
      std::this_thread::yield();
    }
  }

  static grpc::Status Read(v1::BlockService::Stub& stub, int64_t bytes) {
    grpc::ClientContext context;
    v1::ReadRequest request;
    request.set_volume("disk");
    request.set_length(bytes);
    v1::ReadResponse response;
    const grpc::Status status = stub.Read(&context, request, &response);
    EXPECT_EQ(response.data().size(), status.ok() ? bytes : 0);
    return status;
  }

  const std::shared_ptr<ClientMemory> memory_ =
      std::make_shared<ClientMemory>(Options());
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<Catalog> catalog_;
  CallGate gate_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<OpenAccess> access_;
  std::unique_ptr<BlockService> service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::BlockService::Stub> stub_;
};

// A stream that is open.
class Stream {
 public:
  explicit Stream(v1::BlockService::Stub* stub) : stream_(stub->Io(&context_)) {
    v1::IoRequest request;
    request.set_volume("disk");
    EXPECT_TRUE(stream_->Write(request));
    v1::IoResponse response;
    EXPECT_TRUE(stream_->Read(&response));
  }
  void AskFor(uint64_t id, size_t bytes) {
    v1::IoRequest request;
    v1::IoOperation* const operation = request.add_operations();
    operation->set_id(id);
    operation->mutable_read()->set_length(static_cast<int64_t>(bytes));
    EXPECT_TRUE(stream_->Write(request));
  }
  void SendWrite(uint64_t id, size_t bytes) {
    v1::IoRequest request;
    v1::IoOperation* const operation = request.add_operations();
    operation->set_id(id);
    operation->mutable_write()->mutable_data()->assign(bytes, 'x');
    EXPECT_TRUE(stream_->Write(request));
  }
  // How many results come until the end or `most` are there.
  int TakeResults(int most) {
    int results = 0;
    v1::IoResponse response;
    while (results < most && stream_->Read(&response)) {
      for (const auto& result : response.results()) {
        EXPECT_FALSE(result.has_error());
      }
      results += response.results_size();
    }
    return results;
  }
  void Cancel() { context_.TryCancel(); }
  grpc::Status Finish() {
    TakeResults(1000);
    return stream_->Finish();
  }
  grpc::Status End() {
    stream_->WritesDone();
    return Finish();
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::IoRequest, v1::IoResponse>>
      stream_;
};

TEST_F(SlowClientTest, AStreamThatTakesNothingIsSentAwayForOthers) {
  auto slow_stub = NewStub();
  Stream slow(slow_stub.get());
  slow.AskFor(1, 4 * kMib);
  slow.AskFor(2, 4 * kMib);
  // The second read does not fit into its share.
  ExpectWaiting(1);
  EXPECT_TRUE(Read(*stub_, 12 * kMib).ok());
  const grpc::Status status = slow.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("CLIENT_TOO_SLOW: the call"));
  EXPECT_EQ(memory_->GetStats().sent_away, 1);
}

TEST_F(SlowClientTest, MessagesAndReadsWaitForMemory) {
  NoClient client;
  ClientMemory::Holder hog(memory_.get(), &client);
  Stream reads(stub_.get());
  Stream writes(stub_.get());
  // All but the reserve, and what the streams may take.
  ASSERT_TRUE(hog.Reserve(14 * kMib - (70 << 10)));
  hog.SetHeld(14 * kMib - (70 << 10));
  reads.AskFor(1, 4 * kMib);
  reads.AskFor(2, 2 * kMib);
  ExpectWaiting(1);
  writes.SendWrite(1, 60 << 10);
  ExpectWaiting(2);
  grpc::Status status;
  std::thread read([&] { status = Read(*stub_, 2 * kMib); });
  ExpectWaiting(3);
  hog.SetHeld(0);
  EXPECT_EQ(writes.TakeResults(1), 1);
  EXPECT_EQ(reads.TakeResults(2), 2);
  read.join();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(reads.End().ok());
  EXPECT_TRUE(writes.End().ok());
  EXPECT_EQ(memory_->GetStats().sent_away, 0);
}

TEST_F(SlowClientTest, AStreamWaitsForRoomToOpen) {
  NoClient client;
  ClientMemory::Holder hog(memory_.get(), &client);
  ASSERT_TRUE(hog.Reserve(14 * kMib));
  hog.SetHeld(14 * kMib);
  std::vector<std::unique_ptr<ClientMemory::Holder>> small_calls;
  do {
    small_calls.push_back(
        std::make_unique<ClientMemory::Holder>(memory_.get(), &client));
  } while (small_calls.back()->Reserve(16 << 10));
  grpc::ClientContext given_up;
  auto other = stub_->Io(&given_up);
  ExpectWaiting(1);
  std::unique_ptr<Stream> stream;
  std::thread open([&] { stream = std::make_unique<Stream>(stub_.get()); });
  ExpectWaiting(2);
  given_up.TryCancel();
  EXPECT_EQ(other->Finish().error_code(), grpc::StatusCode::CANCELLED);
  ExpectWaiting(1);
  hog.SetHeld(0);
  open.join();
  stream->AskFor(1, 1 * kMib);
  EXPECT_EQ(stream->TakeResults(1), 1);
  EXPECT_TRUE(stream->End().ok());
}

TEST_F(SlowClientTest, AStreamThatWaitsMayEnd) {
  NoClient client;
  ClientMemory::Holder hog(memory_.get(), &client);
  Stream reads(stub_.get());
  Stream writes(stub_.get());
  // All but the reserve, and what the streams may take.
  ASSERT_TRUE(hog.Reserve(14 * kMib - (70 << 10)));
  hog.SetHeld(14 * kMib - (70 << 10));
  reads.AskFor(1, 4 * kMib);
  ExpectWaiting(1);
  writes.SendWrite(1, 60 << 10);
  ExpectWaiting(2);
  reads.Cancel();
  writes.Cancel();
  ExpectWaiting(0);
  EXPECT_EQ(reads.Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(writes.Finish().error_code(), grpc::StatusCode::CANCELLED);
}

}  // namespace
}  // namespace ramvol::service
