// BlockService's unary calls, by RPC against a whole server.
#include "server/service/block_service.h"

#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "grpcpp/client_context.h"
#include "grpcpp/impl/codegen/client_unary_call.h"
#include "grpcpp/support/byte_buffer.h"
#include "gtest/gtest.h"
#include "server/engine/volume.h"
#include "server/service/limits.h"
#include "tests/support/random_data.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_server.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::HasReason;
using ::ramvol::testing::IsInvalidField;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::ramvol::testing::TestServer;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Stub = v1::BlockService::Stub;

constexpr int64_t kSize = int64_t{64} << 20;

class BlockServiceTest : public ::testing::Test {
 protected:
  BlockServiceTest() { server_.CreateVolume("disk", kSize); }

  absl::StatusOr<std::string> Read(int64_t offset, int64_t length,
                                   const std::string& volume = "disk") {
    v1::ReadRequest request;
    request.set_volume(volume);
    request.set_offset(offset);
    request.set_length(length);
    auto response = TestServer::Call(&Stub::Read, server_.blocks(), request);
    if (!response.ok()) return response.status();
    return response->data();
  }
  absl::Status Write(int64_t offset, std::string data,
                     const std::string& volume = "disk") {
    v1::WriteRequest request;
    request.set_volume(volume);
    request.set_offset(offset);
    request.set_data(std::move(data));
    return TestServer::Call(&Stub::Write, server_.blocks(), request).status();
  }
  absl::Status Trim(int64_t offset, int64_t length) {
    v1::TrimRequest request;
    request.set_volume("disk");
    request.set_offset(offset);
    request.set_length(length);
    return TestServer::Call(&Stub::Trim, server_.blocks(), request).status();
  }
  absl::Status Zero(int64_t offset, int64_t length, bool no_hole) {
    v1::WriteZeroesRequest request;
    request.set_volume("disk");
    request.set_offset(offset);
    request.set_length(length);
    request.set_no_hole(no_hole);
    return TestServer::Call(&Stub::WriteZeroes, server_.blocks(), request)
        .status();
  }
  absl::StatusOr<v1::GetExtentsResponse> Extents(int64_t offset, int64_t length,
                                                 int32_t max_extents = 0) {
    v1::GetExtentsRequest request;
    request.set_volume("disk");
    request.set_offset(offset);
    request.set_length(length);
    request.set_max_extents(max_extents);
    return TestServer::Call(&Stub::GetExtents, server_.blocks(), request);
  }

  TestServer server_;
};

TEST_F(BlockServiceTest, ReadsWhatWasWritten) {
  ASSERT_THAT(Write(4090, "across blocks"), IsOk());
  EXPECT_EQ(Read(4090, 13).value(), "across blocks");
  EXPECT_EQ(Read(4088, 4).value(), std::string("\0\0ac", 4));
  EXPECT_EQ(Read(kSize, 0).value(), "");
  ASSERT_THAT(Write(kSize - 1, "x"), IsOk());
  EXPECT_EQ(Read(kSize - 1, 1).value(), "x");
  ASSERT_THAT(Write(0, ""), IsOk());
}

TEST_F(BlockServiceTest, GuardedChangesWaitForNobodyToBeAttached) {
  ASSERT_THAT(Write(0, "precious"), IsOk());
  v1::WriteRequest write;
  write.set_volume("disk");
  write.set_data("slip");
  write.set_if_unattached(true);
  v1::TrimRequest trim;
  trim.set_volume("disk");
  trim.set_length(kSize);
  trim.set_if_unattached(true);
  v1::WriteZeroesRequest zero;
  zero.set_volume("disk");
  zero.set_length(kSize);
  zero.set_if_unattached(true);
  v1::UpdateVolumeRequest shrink;
  shrink.set_name("disk");
  shrink.mutable_volume()->set_size_bytes(4);
  shrink.mutable_update_mask()->add_paths("size_bytes");
  shrink.set_if_unattached(true);
  const auto outcomes = [&] {
    return std::vector<absl::Status>{
        TestServer::Call(&Stub::Write, server_.blocks(), write).status(),
        TestServer::Call(&Stub::Trim, server_.blocks(), trim).status(),
        TestServer::Call(&Stub::WriteZeroes, server_.blocks(), zero).status(),
        TestServer::Call(&v1::VolumeService::Stub::UpdateVolume,
                         server_.volumes(), shrink)
            .status()};
  };
  {
    const auto held = engine::Attachment::Make(
        *server_.server().engine().Find("disk"), {"nbd", "10.0.0.1:9"});
    for (const absl::Status& outcome : outcomes()) {
      EXPECT_THAT(outcome, HasReason(absl::StatusCode::kFailedPrecondition,
                                     reason::kVolumeAttached));
      EXPECT_THAT(std::string(outcome.message()),
                  HasSubstr("(nbd 10.0.0.1:9 since "));
    }
    EXPECT_EQ(Read(0, 8).value(), "precious");
  }
  for (const absl::Status& outcome : outcomes()) EXPECT_THAT(outcome, IsOk());
}

TEST_F(BlockServiceTest, MovesSixteenMebibytes) {
  std::string data(kMaxDataBytes, 'x');
  data[1] = 'y';
  ASSERT_THAT(Write(1, data), IsOk());
  EXPECT_TRUE(Read(1, kMaxDataBytes).value() == data);
}

TEST_F(BlockServiceTest, MoreThanSixteenMebibytesNamesTheLimit) {
  const absl::Status write = Write(0, std::string(kMaxDataBytes + 1, 'x'));
  EXPECT_THAT(write, IsInvalidField("data"));
  EXPECT_THAT(write, HasReason(absl::StatusCode::kInvalidArgument,
                               reason::kTooMuchData));
  EXPECT_THAT(write, StatusIs(absl::StatusCode::kInvalidArgument,
                              AllOf(HasSubstr("16777217"),
                                    HasSubstr("16777216 bytes (16 MiB)"))));
  EXPECT_THAT(Read(0, kMaxDataBytes + 1), IsInvalidField("length"));
  EXPECT_THAT(
      Read(0, std::numeric_limits<int64_t>::max()),
      HasReason(absl::StatusCode::kInvalidArgument, reason::kTooMuchData));
}

TEST_F(BlockServiceTest, BeyondWhatGrpcTakesNamesThatLimit) {
  EXPECT_THAT(Write(0, std::string(kMaxReceiveBytes, 'x')),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr(std::to_string(kMaxReceiveBytes))));
}

TEST_F(BlockServiceTest, NegativeNumbersNameTheField) {
  EXPECT_THAT(Read(-1, 1), IsInvalidField("offset"));
  EXPECT_THAT(Read(0, -1), IsInvalidField("length"));
  EXPECT_THAT(Write(-5, "x"), IsInvalidField("offset"));
  EXPECT_THAT(Write(-5, "x"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("-5")));
  EXPECT_THAT(Trim(-1, 0), IsInvalidField("offset"));
  EXPECT_THAT(Trim(0, std::numeric_limits<int64_t>::min()),
              IsInvalidField("length"));
  EXPECT_THAT(Zero(0, -1, false), IsInvalidField("length"));
  EXPECT_THAT(Extents(-1, 0), IsInvalidField("offset"));
  EXPECT_THAT(Extents(0, 0, -1), IsInvalidField("max_extents"));
}

TEST_F(BlockServiceTest, PastTheEnd) {
  const absl::Status status = Write(kSize - 1, "xy");
  EXPECT_THAT(status,
              HasReason(absl::StatusCode::kOutOfRange, reason::kPastEnd));
  EXPECT_THAT(Read(kSize, 1),
              HasReason(absl::StatusCode::kOutOfRange, reason::kPastEnd));
  EXPECT_THAT(Read(std::numeric_limits<int64_t>::max(), 4096),
              HasReason(absl::StatusCode::kOutOfRange, reason::kPastEnd));
  EXPECT_THAT(Trim(1, kSize),
              HasReason(absl::StatusCode::kOutOfRange, reason::kPastEnd));
  EXPECT_THAT(Extents(kSize + 1, 0),
              HasReason(absl::StatusCode::kOutOfRange, reason::kPastEnd));
}

TEST_F(BlockServiceTest, UnknownAndEmptyVolumes) {
  EXPECT_THAT(Read(0, 1, "nope"),
              HasReason(absl::StatusCode::kNotFound, reason::kVolumeNotFound));
  EXPECT_THAT(Write(0, "x", "nope"),
              HasReason(absl::StatusCode::kNotFound, reason::kVolumeNotFound));
  EXPECT_THAT(Read(0, 1, ""), IsInvalidField("volume"));
  EXPECT_THAT(Write(0, "x", ""), IsInvalidField("volume"));
}

TEST_F(BlockServiceTest, EveryErrorNamesTheVolume) {
  for (const absl::Status& status :
       {Read(kSize, 1).status(), Write(kSize, "x"), Trim(1, kSize),
        Zero(1, kSize, false), Extents(kSize + 1, 0).status(),
        Write(-1, "x")}) {
    EXPECT_EQ(GetMetadata(status)["volume"], "disk") << status;
  }
  EXPECT_EQ(GetMetadata(Write(0, "x", "nope"))["volume"], "nope");
  // Trailers have little room.
  const std::string longest(100'000, 'n');
  const absl::Status unknown = Write(0, "x", longest);
  EXPECT_THAT(unknown,
              HasReason(absl::StatusCode::kNotFound, reason::kVolumeNotFound));
  EXPECT_EQ(GetMetadata(unknown)["volume"], std::string(256, 'n') + "...");
}

TEST_F(BlockServiceTest, OperationsOfAStreamNameTheVolumeToo) {
  grpc::ClientContext context;
  auto stream = server_.blocks().Io(&context);
  v1::IoRequest request;
  request.set_volume("disk");
  request.add_operations()->mutable_read()->set_offset(kSize);
  request.mutable_operations(0)->mutable_read()->set_length(1);
  ASSERT_TRUE(stream->Write(request));
  stream->WritesDone();
  v1::IoResponse response;
  while (response.results_size() == 0) ASSERT_TRUE(stream->Read(&response));
  const absl::Status status = FromRpcStatus(response.results(0).error());
  EXPECT_THAT(status,
              HasReason(absl::StatusCode::kOutOfRange, reason::kPastEnd));
  EXPECT_EQ(GetMetadata(status)["volume"], "disk");
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(BlockServiceTest, ReadOnlyVolumesRefuseChanges) {
  v1::CreateVolumeRequest request;
  request.set_name("fixed");
  request.set_size_bytes(4096);
  request.set_read_only(true);
  ASSERT_THAT(TestServer::Call(&v1::VolumeService::Stub::CreateVolume,
                               server_.volumes(), request),
              IsOk());
  EXPECT_THAT(Write(0, "x", "fixed"),
              HasReason(absl::StatusCode::kFailedPrecondition,
                        reason::kVolumeReadOnly));
  EXPECT_EQ(Read(0, 1, "fixed").value(), std::string(1, '\0'));
}

TEST_F(BlockServiceTest, VolumeMemoryLimit) {
  v1::CreateVolumeRequest request;
  request.set_name("tight");
  request.set_size_bytes(1 << 20);
  request.set_allocator(v1::ALLOCATOR_SPARSE);
  request.set_memory_limit_bytes(64 << 10);
  ASSERT_THAT(TestServer::Call(&v1::VolumeService::Stub::CreateVolume,
                               server_.volumes(), request),
              IsOk());
  std::mt19937_64 random(1);
  EXPECT_THAT(Write(0, ::ramvol::testing::Noise(random, 1 << 20), "tight"),
              HasReason(absl::StatusCode::kResourceExhausted,
                        reason::kVolumeMemoryLimit));
}

TEST_F(BlockServiceTest, TrimAndZeroMakeHoles) {
  ASSERT_THAT(Write(0, std::string(65536, 'x')), IsOk());
  ASSERT_THAT(Trim(4096, 8192), IsOk());
  ASSERT_THAT(Zero(20480, 4096, /*no_hole=*/true), IsOk());
  ASSERT_THAT(Zero(32768, 4096, /*no_hole=*/false), IsOk());
  EXPECT_EQ(Read(4096, 8192).value(), std::string(8192, '\0'));
  EXPECT_EQ(Read(20480, 4096).value(), std::string(4096, '\0'));
  auto extents = Extents(0, 65536);
  ASSERT_THAT(extents, IsOk());
  ASSERT_EQ(extents->extents_size(), 5);
  EXPECT_EQ(extents->extents(1).offset(), 4096);
  EXPECT_EQ(extents->extents(1).length(), 8192);
  EXPECT_TRUE(extents->extents(1).hole());
  EXPECT_FALSE(extents->extents(2).hole());
  EXPECT_EQ(extents->extents(3).offset(), 32768);
  EXPECT_EQ(extents->next_offset(), 65536);
}

TEST_F(BlockServiceTest, ExtentsToTheEndAndInParts) {
  auto all = Extents(0, 0);
  ASSERT_THAT(all, IsOk());
  ASSERT_EQ(all->extents_size(), 1);
  EXPECT_TRUE(all->extents(0).hole());
  EXPECT_EQ(all->extents(0).length(), kSize);
  EXPECT_EQ(all->next_offset(), kSize);
  EXPECT_EQ(Extents(kSize, 0)->extents_size(), 0);

  for (int64_t offset : {0, 8192, 16384})
    ASSERT_THAT(Write(offset, "x"), IsOk());
  int64_t offset = 0;
  int parts = 0;
  while (offset < kSize) {
    auto part = Extents(offset, 0, 1);
    ASSERT_THAT(part, IsOk());
    ASSERT_EQ(part->extents_size(), 1);
    EXPECT_EQ(part->extents(0).offset(), offset);
    EXPECT_EQ(part->extents(0).hole(), parts % 2 == 1);
    offset = part->next_offset();
    ++parts;
  }
  EXPECT_EQ(parts, 6);
}

TEST_F(BlockServiceTest, FlushAnswers) {
  v1::FlushRequest request;
  request.set_volume("disk");
  EXPECT_THAT(TestServer::Call(&Stub::Flush, server_.blocks(), request),
              IsOk());
  request.set_volume("nope");
  EXPECT_THAT(TestServer::Call(&Stub::Flush, server_.blocks(), request),
              HasReason(absl::StatusCode::kNotFound, reason::kVolumeNotFound));
}

// With room for some of them at a time.
TEST(BlockServiceMessagesTest, LargeOnesWaitForEachOther) {
  constexpr int kClients = 12;
  constexpr int64_t kBytes = int64_t{1} << 20;
  server::ServerOptions options = ::ramvol::testing::TestServerOptions();
  options.client_memory_bytes = server::kMinClientMemoryBytes;
  TestServer server(options);
  server.CreateVolume("disk", kClients * kBytes);
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&server, i] {
      v1::WriteRequest write;
      write.set_volume("disk");
      write.set_offset(i * kBytes);
      write.set_data(std::string(kBytes, static_cast<char>('a' + i)));
      v1::ReadRequest read;
      read.set_volume("disk");
      read.set_offset(i * kBytes);
      read.set_length(kBytes);
      for (int repeat = 0; repeat < 5; ++repeat) {
        EXPECT_THAT(TestServer::Call(&Stub::Write, server.blocks(), write),
                    IsOk());
        const auto got = TestServer::Call(&Stub::Read, server.blocks(), read);
        ASSERT_THAT(got, IsOk());
        EXPECT_TRUE(got->data() == write.data());
      }
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST_F(BlockServiceTest, AWriteThatIsNoMessageIsRefused) {
  grpc::ClientContext context;
  const grpc::internal::RpcMethod rpc("/ramvol.v1.BlockService/Write",
                                      grpc::internal::RpcMethod::NORMAL_RPC);
  const grpc::Slice text(std::string("\xff\xff\xff"));
  const grpc::ByteBuffer request(&text, 1);
  v1::WriteResponse response;
  const grpc::Status status = grpc::internal::BlockingUnaryCall(
      server_.channel().get(), rpc, &context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT)
      << status.error_message();
}

}  // namespace
}  // namespace ramvol::service
