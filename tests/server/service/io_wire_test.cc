#include "server/service/io_wire.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "grpcpp/support/slice.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::service {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::ramvol::testing::HasReason;
using ::ramvol::testing::IsOk;

v1::IoResult& AddRead(uint64_t id, size_t bytes, v1::IoResponse* response) {
  v1::IoResult& result = *response->add_results();
  result.set_id(id);
  result.set_data(std::string(bytes, static_cast<char>('a' + id % 26)));
  return result;
}

std::string Bytes(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

// That the encoding of `response` is read by generated code as what it was.
void ExpectRoundTrip(v1::IoResponse response) {
  const v1::IoResponse original = response;
  v1::IoResponse decoded;
  ASSERT_TRUE(decoded.ParseFromString(Bytes(EncodeResponse(&response))));
  EXPECT_TRUE(MessageDifferencer::Equals(original, decoded))
      << original.results_size() << " results, decoded as "
      << decoded.results_size();
}

TEST(IoWireTest, AnEmptyResponse) { ExpectRoundTrip({}); }

TEST(IoWireTest, DataAroundTheBoundOfWhatIsCopied) {
  for (const size_t bytes :
       {size_t{0}, size_t{1}, kMaxCopiedDataBytes - 1, kMaxCopiedDataBytes,
        kMaxCopiedDataBytes + 1, size_t{3} << 20}) {
    SCOPED_TRACE(bytes);
    v1::IoResponse response;
    AddRead(7, bytes, &response);
    ExpectRoundTrip(response);
  }
}

TEST(IoWireTest, LargeAndSmallDataInTurn) {
  v1::IoResponse response;
  response.mutable_opened()->set_size_bytes(1 << 20);
  response.mutable_opened()->set_uid("u");
  for (uint64_t id = 0; id < 20; ++id) {
    AddRead(id, id % 3 == 0 ? kMaxCopiedDataBytes * 2 : 4096, &response);
  }
  ExpectRoundTrip(response);
}

TEST(IoWireTest, EveryFieldOfAResult) {
  v1::IoResponse response;
  v1::IoResult& result =
      AddRead(UINT64_MAX, kMaxCopiedDataBytes + 1, &response);
  result.mutable_error()->set_code(5);
  result.mutable_error()->set_message("no such volume");
  result.add_extents()->set_length(4096);
  result.set_next_offset(INT64_MAX);
  ExpectRoundTrip(response);
}

TEST(IoWireTest, LargeDataIsNotCopied) {
  v1::IoResponse response;
  const v1::IoResult& result = AddRead(1, kMaxCopiedDataBytes + 1, &response);
  const void* const data = result.data().data();
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(EncodeResponse(&response).Dump(&slices).ok());
  ASSERT_EQ(slices.size(), 2);
  EXPECT_EQ(slices[1].begin(), data);
}

TEST(IoWireTest, ARequestIsDecoded) {
  v1::IoRequest request;
  request.set_volume("v");
  request.add_operations()->mutable_write()->set_data("x");
  const grpc::Slice slice(request.SerializeAsString());
  grpc::ByteBuffer bytes(&slice, 1);
  v1::IoRequest decoded;
  ASSERT_THAT(DecodeRequest(&bytes, &decoded), IsOk());
  EXPECT_TRUE(MessageDifferencer::Equals(request, decoded));
}

TEST(IoWireTest, WhatIsNoRequestIsRefused) {
  const grpc::Slice slice(std::string("\x0a\xff", 2));
  grpc::ByteBuffer bytes(&slice, 1);
  v1::IoRequest request;
  EXPECT_THAT(
      DecodeRequest(&bytes, &request),
      HasReason(absl::StatusCode::kInvalidArgument, reason::kMalformedRequest));
}

}  // namespace
}  // namespace ramvol::service
