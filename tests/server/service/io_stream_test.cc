// BlockService.Io, by RPC against a whole server. The protocol's details are in
// io_session_test.cc.
#include "server/service/io_stream.h"

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "grpcpp/client_context.h"
#include "gtest/gtest.h"
#include "proto/base/reason.h"
#include "proto/status.h"
#include "server/service/limits.h"
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
  explicit Stream(TestServer* server)
      : stub_(v1::BlockService::NewStub(server->NewChannel())),
        stream_(stub_->Io(&context_)) {}

  bool Send(const v1::IoRequest& request) { return stream_->Write(request); }
  // Sends the first message and takes `opened` in.
  void Open(const std::string& volume) {
    v1::IoRequest request;
    request.set_volume(volume);
    ASSERT_TRUE(Send(request));
    v1::IoResponse response;
    ASSERT_TRUE(stream_->Read(&response));
    ASSERT_TRUE(response.has_opened());
    opened_ = response.opened();
  }
  const v1::IoOpened& opened() const { return opened_; }

  // Reads messages until at least so many results are in.
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

}  // namespace
}  // namespace ramvol::service
