#include "client/io_wire.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/reason.h"
#include "client/extent.h"
#include "client/io_transport.h"
#include "gmock/gmock.h"
#include "google/protobuf/stubs/logging.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"
#include "gtest/gtest.h"
#include "proto/status.h"
#include "ramvol/v1/block_service.pb.h"

namespace ramvol {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

v1::IoRequest Parse(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  v1::IoRequest request;
  EXPECT_TRUE(request.ParseFromString(bytes));
  EXPECT_EQ(request.SerializeAsString(), bytes) << "not what protobuf writes";
  return request;
}

// Cuts `bytes` into pieces of `size`.
std::vector<grpc::Slice> Cut(std::string_view bytes, size_t size) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < bytes.size(); at += size) {
    slices.emplace_back(bytes.data() + at, std::min(size, bytes.size() - at));
  }
  return slices;
}

std::string Join(const OperationResult& result) {
  std::string data;
  for (std::string_view piece : result.data) data.append(piece);
  return data;
}

Operation Make(uint64_t id, OperationKind kind, int64_t offset,
               int64_t length) {
  Operation operation;
  operation.id = id;
  operation.kind = kind;
  operation.offset = offset;
  operation.length = length;
  return operation;
}

v1::IoResponse SomeResponse() {
  v1::IoResponse response;
  v1::IoOpened& opened = *response.mutable_opened();
  opened.set_size_bytes(INT64_MAX);
  opened.set_read_only(true);
  opened.set_window_operations(17);
  opened.set_window_bytes(int64_t{1} << 40);
  opened.set_max_data_bytes(99);
  opened.set_uid("uid");
  v1::IoResult& read = *response.add_results();
  read.set_id(UINT64_MAX);
  read.set_data("some data that is longer than one piece");
  v1::IoResult& failed = *response.add_results();
  failed.set_id(2);
  *failed.mutable_error() = ToRpcStatus(
      WithReason(absl::DataLossError("bad"), reason::kCorruptFrame));
  v1::IoResult& listed = *response.add_results();
  listed.set_id(3);
  listed.add_extents()->set_length(5);
  v1::Extent& hole = *listed.add_extents();
  hole.set_offset(5);
  hole.set_length(7);
  hole.set_hole(true);
  listed.set_next_offset(12);
  response.add_results()->set_id(4);
  return response;
}

TEST(IoWireTest, EncodesTheVolume) {
  const v1::IoRequest request = Parse(EncodeOpen({.volume = "scratch",
                                                  .stream_id = 5,
                                                  .replaces = {6, UINT64_MAX},
                                                  .client_id = 7}));
  EXPECT_EQ(request.volume(), "scratch");
  EXPECT_EQ(request.operations_size(), 0);
  EXPECT_EQ(request.stream_id(), 5u);
  EXPECT_THAT(request.replaces(), ElementsAre(6u, UINT64_MAX));
  EXPECT_EQ(request.client_id(), 7u);
}

TEST(IoWireTest, EncodesEveryKind) {
  const std::string data(100000, 'x');
  std::vector<Operation> operations = {
      Make(1, OperationKind::kRead, 4096, 8192),
      Make(UINT64_MAX, OperationKind::kWrite, INT64_MAX, 0),
      Make(3, OperationKind::kTrim, -1, INT64_MAX),
      Make(4, OperationKind::kWriteZeroes, 0, 1),
      Make(5, OperationKind::kFlush, 0, 0),
      Make(6, OperationKind::kGetExtents, 300, 0),
      Make(7, OperationKind::kWrite, 0, 0),
      Make(8, OperationKind::kRead, 0, 0)};
  operations[1].data = data;
  operations[3].no_hole = true;
  operations[5].max_extents = 10000;
  const v1::IoRequest request = Parse(EncodeOperations(operations));
  ASSERT_EQ(request.operations_size(), 8);
  EXPECT_EQ(request.operations(0).read().offset(), 4096);
  EXPECT_EQ(request.operations(0).read().length(), 8192);
  EXPECT_EQ(request.operations(1).id(), UINT64_MAX);
  EXPECT_EQ(request.operations(1).write().offset(), INT64_MAX);
  EXPECT_EQ(request.operations(1).write().data(), data);
  EXPECT_EQ(request.operations(2).trim().offset(), -1);
  EXPECT_EQ(request.operations(2).trim().length(), INT64_MAX);
  EXPECT_TRUE(request.operations(3).write_zeroes().no_hole());
  EXPECT_TRUE(request.operations(4).has_flush());
  EXPECT_EQ(request.operations(5).get_extents().max_extents(), 10000);
  EXPECT_TRUE(request.operations(6).has_write());
  EXPECT_TRUE(request.operations(7).has_read());
}

TEST(IoWireTest, CarriesListsOfChanges) {
  std::vector<Operation> operations = {
      Make(1, OperationKind::kGetChangedExtents, 4096, 8192)};
  operations[0].max_extents = 7;
  operations[0].since = "@monday";
  const v1::IoRequest request = Parse(EncodeOperations(operations));
  ASSERT_EQ(request.operations_size(), 1);
  const v1::IoGetChangedExtents& get =
      request.operations(0).get_changed_extents();
  EXPECT_EQ(get.offset(), 4096);
  EXPECT_EQ(get.length(), 8192);
  EXPECT_EQ(get.max_extents(), 7);
  EXPECT_EQ(get.since(), "@monday");

  v1::IoResponse response;
  v1::IoResult& result = *response.add_results();
  v1::ChangedExtent& changed = *result.add_changed_extents();
  changed.set_offset(4096);
  changed.set_length(5);
  changed.set_changed(true);
  result.set_next_offset(4101);
  const std::string bytes = response.SerializeAsString();
  const std::vector<grpc::Slice> slices = Cut(bytes, 3);
  const auto message = DecodeResponse(slices);
  ASSERT_TRUE(message.ok()) << message.status();
  ASSERT_THAT(message->results, SizeIs(1));
  EXPECT_THAT(message->results[0].extents,
              ElementsAre(Extent{4096, 5, /*hole=*/true}));
  EXPECT_EQ(message->results[0].next_offset, 4101);
}

TEST(IoWireTest, DecodesWhateverTheSlices) {
  const std::string bytes = SomeResponse().SerializeAsString();
  for (size_t size = 1; size <= bytes.size(); ++size) {
    const std::vector<grpc::Slice> slices = Cut(bytes, size);
    absl::StatusOr<IncomingMessage> message = DecodeResponse(slices);
    ASSERT_TRUE(message.ok()) << message.status();
    ASSERT_TRUE(message->opened.has_value());
    EXPECT_EQ(message->opened->size_bytes, INT64_MAX);
    EXPECT_TRUE(message->opened->read_only);
    EXPECT_EQ(message->opened->window_operations, 17);
    EXPECT_EQ(message->opened->window_bytes, int64_t{1} << 40);
    EXPECT_EQ(message->opened->max_data_bytes, 99);
    EXPECT_EQ(message->opened->uid, "uid");
    ASSERT_THAT(message->results, SizeIs(4));
    EXPECT_EQ(message->results[0].id, UINT64_MAX);
    EXPECT_EQ(Join(message->results[0]), SomeResponse().results(0).data());
    EXPECT_TRUE(absl::IsDataLoss(message->results[1].status));
    EXPECT_EQ(GetReason(message->results[1].status), reason::kCorruptFrame);
    EXPECT_THAT(message->results[2].extents,
                ElementsAre(Extent{0, 5, false}, Extent{5, 7, true}));
    EXPECT_EQ(message->results[2].next_offset, 12);
    EXPECT_TRUE(message->results[3].status.ok());
  }
}

TEST(IoWireTest, DecodesTheEmptyMessage) {
  absl::StatusOr<IncomingMessage> message = DecodeResponse({});
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_THAT(message->results, SizeIs(0));
}

TEST(IoWireTest, SkipsFieldsThatItDoesNotKnow) {
  v1::IoResponse response;
  v1::IoResult& result = *response.add_results();
  result.set_id(5);
  result.GetReflection()->MutableUnknownFields(&result)->AddVarint(99, 1);
  response.GetReflection()->MutableUnknownFields(&response)->AddLengthDelimited(
      77, "from the future");
  const std::vector<grpc::Slice> slices = Cut(response.SerializeAsString(), 3);
  absl::StatusOr<IncomingMessage> message = DecodeResponse(slices);
  ASSERT_TRUE(message.ok()) << message.status();
  ASSERT_THAT(message->results, SizeIs(1));
  EXPECT_EQ(message->results[0].id, 5u);
}

TEST(IoWireTest, DecodesAllThatProtobufDoesAndSurvivesTheRest) {
  google::protobuf::SetLogHandler(nullptr);
  const std::string good = SomeResponse().SerializeAsString();
  absl::BitGen random;
  for (int i = 0; i < 20000; ++i) {
    std::string bytes =
        good.substr(0, absl::Uniform<size_t>(random, 0, good.size() + 1));
    for (int flips = absl::Uniform(random, 0, 3); flips > 0 && !bytes.empty();
         --flips) {
      bytes[absl::Uniform<size_t>(random, 0, bytes.size())] =
          static_cast<char>(absl::Uniform<int>(random, 0, 256));
    }
    v1::IoResponse parsed;
    const bool valid = parsed.ParseFromString(bytes);
    const std::vector<grpc::Slice> slices = Cut(bytes, 5);
    absl::StatusOr<IncomingMessage> message = DecodeResponse(slices);
    if (valid) {
      ASSERT_TRUE(message.ok()) << message.status();
      ASSERT_EQ(static_cast<int>(message->results.size()),
                parsed.results_size());
      for (int r = 0; r < parsed.results_size(); ++r) {
        ASSERT_EQ(message->results[r].id, parsed.results(r).id());
        ASSERT_EQ(Join(message->results[r]), parsed.results(r).data());
      }
    }
  }
}

}  // namespace
}  // namespace ramvol
