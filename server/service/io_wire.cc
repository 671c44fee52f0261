#include "server/service/io_wire.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grpc/slice.h"
#include "grpcpp/support/slice.h"
#include "proto/tag.h"
#include "server/service/call_message.h"

namespace ramvol::service {
namespace {

constexpr uint8_t kOpenedTag = DelimitedTag(v1::IoResponse::kOpenedFieldNumber);
constexpr uint8_t kResultTag =
    DelimitedTag(v1::IoResponse::kResultsFieldNumber);
constexpr uint8_t kReadDataTag =
    DelimitedTag(v1::ReadResponse::kDataFieldNumber);
constexpr uint8_t kDataTag = DelimitedTag(v1::IoResult::kDataFieldNumber);

// A result, divided into what is copied and what is referred to.
struct Encoded {
  v1::IoResult* result = nullptr;
  size_t rest_bytes = 0;               // Without `large` and its head.
  std::unique_ptr<std::string> large;  // The data, if it is large; else null.

  size_t size_bytes() const {
    return large == nullptr
               ? rest_bytes
               : rest_bytes + HeadSize(large->size()) + large->size();
  }
  // All bytes that are copied: everything but the content of `large`.
  size_t small_bytes() const {
    const size_t bytes = HeadSize(size_bytes()) + size_bytes();
    return large == nullptr ? bytes : bytes - large->size();
  }
};

Encoded TakeApart(v1::IoResult* result) {
  Encoded encoded;
  encoded.result = result;
  if (result->data().size() > kMaxCopiedDataBytes) {
    encoded.large.reset(result->release_data());
  }
  encoded.rest_bytes = result->ByteSizeLong();
  return encoded;
}

grpc::Slice ToSlice(std::unique_ptr<std::string> data) {
  std::string* const owned = data.release();
  return grpc::Slice(
      owned->data(), owned->size(),
      [](void* string) { delete static_cast<std::string*>(string); }, owned);
}

// Writes all copied bytes into one allocation, and cuts it into slices where
// large data goes in between.
class SliceWriter {
 public:
  explicit SliceWriter(size_t bytes)
      : backing_(grpc_slice_malloc(bytes)),
        out_(GRPC_SLICE_START_PTR(backing_)) {}
  ~SliceWriter() { grpc_slice_unref(backing_); }

  SliceWriter(const SliceWriter&) = delete;
  SliceWriter& operator=(const SliceWriter&) = delete;

  uint8_t* out() const { return out_; }
  void set_out(uint8_t* out) { out_ = out; }

  void AddSlice(grpc::Slice slice) {
    Cut();
    slices_.push_back(std::move(slice));
  }

  grpc::ByteBuffer Finish() {
    Cut();
    return grpc::ByteBuffer(slices_.data(), slices_.size());
  }

 private:
  void Cut() {
    const auto end = static_cast<size_t>(out_ - GRPC_SLICE_START_PTR(backing_));
    if (end == begin_) return;
    // Each slice holds a reference to the whole allocation.
    slices_.emplace_back(grpc_slice_sub(backing_, begin_, end),
                         grpc::Slice::STEAL_REF);
    begin_ = end;
  }

  grpc_slice backing_;
  uint8_t* out_;
  size_t begin_ = 0;
  std::vector<grpc::Slice> slices_;
};

void PutResult(Encoded encoded, SliceWriter& writer) {
  uint8_t* out = PutHead(kResultTag, encoded.size_bytes(), writer.out());
  out = encoded.result->SerializeWithCachedSizesToArray(out);
  if (encoded.large == nullptr) {
    writer.set_out(out);
    return;
  }
  writer.set_out(PutHead(kDataTag, encoded.large->size(), out));
  writer.AddSlice(ToSlice(std::move(encoded.large)));
}

}  // namespace

grpc::ByteBuffer EncodeResponse(v1::IoResponse* response) {
  size_t bytes = 0;
  const size_t opened_bytes =
      response->has_opened() ? response->opened().ByteSizeLong() : 0;
  if (response->has_opened()) bytes = HeadSize(opened_bytes) + opened_bytes;
  std::vector<Encoded> results;
  results.reserve(static_cast<size_t>(response->results_size()));
  for (v1::IoResult& result : *response->mutable_results()) {
    results.push_back(TakeApart(&result));
    bytes += results.back().small_bytes();
  }
  SliceWriter writer(bytes);
  if (response->has_opened()) {
    uint8_t* out = PutHead(kOpenedTag, opened_bytes, writer.out());
    writer.set_out(response->opened().SerializeWithCachedSizesToArray(out));
  }
  for (Encoded& result : results) PutResult(std::move(result), writer);
  return writer.Finish();
}

grpc::ByteBuffer EncodeReadResponse(std::unique_ptr<std::string> data) {
  const size_t bytes = data->size();
  if (bytes == 0) return grpc::ByteBuffer(nullptr, 0);
  const bool copied = bytes <= kMaxCopiedDataBytes;
  SliceWriter writer(HeadSize(bytes) + (copied ? bytes : 0));
  uint8_t* out = PutHead(kReadDataTag, bytes, writer.out());
  if (copied) out = std::copy(data->begin(), data->end(), out);
  writer.set_out(out);
  if (!copied) writer.AddSlice(ToSlice(std::move(data)));
  return writer.Finish();
}

absl::Status DecodeRequest(grpc::ByteBuffer* bytes, v1::IoRequest* request) {
  return DecodeMessage(bytes, request);
}

}  // namespace ramvol::service
