#include "client/io_wire.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/extent.h"
#include "client/io_transport.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream.h"
#include "google/protobuf/wire_format_lite.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"
#include "proto/status.h"
#include "proto/tag.h"
#include "ramvol/v1/block_service.pb.h"

namespace ramvol {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;

// As proto3 does, leaves out fields that are zero or empty.
size_t VarintFieldSize(uint64_t value) {
  return value == 0 ? 0 : 1 + CodedOutputStream::VarintSize64(value);
}

uint8_t* PutVarintField(int field, uint64_t value, uint8_t* out) {
  if (value == 0) return out;
  *out++ = VarintTag(field);
  return CodedOutputStream::WriteVarint64ToArray(value, out);
}

size_t DelimitedSize(size_t length) { return HeadSize(length) + length; }

size_t BytesFieldSize(std::string_view data) {
  return data.empty() ? 0 : DelimitedSize(data.size());
}

uint8_t* PutBytes(int field, std::string_view data, uint8_t* out) {
  if (data.empty()) return out;
  out = PutHead(DelimitedTag(field), data.size(), out);
  std::memcpy(out, data.data(), data.size());
  return out + data.size();
}

int KindField(OperationKind kind) {
  switch (kind) {
    case OperationKind::kRead:
      return v1::IoOperation::kReadFieldNumber;
    case OperationKind::kWrite:
      return v1::IoOperation::kWriteFieldNumber;
    case OperationKind::kTrim:
      return v1::IoOperation::kTrimFieldNumber;
    case OperationKind::kWriteZeroes:
      return v1::IoOperation::kWriteZeroesFieldNumber;
    case OperationKind::kFlush:
      return v1::IoOperation::kFlushFieldNumber;
    case OperationKind::kGetExtents:
      return v1::IoOperation::kGetExtentsFieldNumber;
    case OperationKind::kGetChangedExtents:
      return v1::IoOperation::kGetChangedExtentsFieldNumber;
  }
  return 0;
}

// Every kind has `offset` as field 1, then `data` or `length` as field 2, then
// `no_hole` or `max_extents` as field 3, then `since` as field 4.
static_assert(v1::IoRead::kOffsetFieldNumber == 1 &&
              v1::IoRead::kLengthFieldNumber == 2 &&
              v1::IoWrite::kOffsetFieldNumber == 1 &&
              v1::IoWrite::kDataFieldNumber == 2 &&
              v1::IoTrim::kOffsetFieldNumber == 1 &&
              v1::IoTrim::kLengthFieldNumber == 2 &&
              v1::IoWriteZeroes::kOffsetFieldNumber == 1 &&
              v1::IoWriteZeroes::kLengthFieldNumber == 2 &&
              v1::IoWriteZeroes::kNoHoleFieldNumber == 3 &&
              v1::IoGetExtents::kOffsetFieldNumber == 1 &&
              v1::IoGetExtents::kLengthFieldNumber == 2 &&
              v1::IoGetExtents::kMaxExtentsFieldNumber == 3 &&
              v1::IoGetChangedExtents::kOffsetFieldNumber == 1 &&
              v1::IoGetChangedExtents::kLengthFieldNumber == 2 &&
              v1::IoGetChangedExtents::kMaxExtentsFieldNumber == 3 &&
              v1::IoGetChangedExtents::kSinceFieldNumber == 4);
// ReadExtent reads both.
static_assert(v1::Extent::kOffsetFieldNumber == 1 &&
              v1::Extent::kLengthFieldNumber == 2 &&
              v1::Extent::kHoleFieldNumber == 3 &&
              v1::ChangedExtent::kOffsetFieldNumber == 1 &&
              v1::ChangedExtent::kLengthFieldNumber == 2 &&
              v1::ChangedExtent::kChangedFieldNumber == 3);

uint64_t ThirdField(const Operation& operation) {
  if (operation.kind == OperationKind::kWriteZeroes) return operation.no_hole;
  if (ListsExtents(operation.kind)) return operation.max_extents;
  return 0;
}

size_t KindSize(const Operation& operation) {
  if (operation.kind == OperationKind::kFlush) return 0;
  const size_t offset = VarintFieldSize(operation.offset);
  if (operation.kind == OperationKind::kWrite) {
    return offset + BytesFieldSize(operation.data);
  }
  return offset + VarintFieldSize(operation.length) +
         VarintFieldSize(ThirdField(operation)) +
         BytesFieldSize(operation.since);
}

size_t OperationSize(const Operation& operation) {
  return VarintFieldSize(operation.id) + DelimitedSize(KindSize(operation));
}

uint8_t* PutOperation(const Operation& operation, uint8_t* out) {
  out = PutHead(DelimitedTag(v1::IoRequest::kOperationsFieldNumber),
                OperationSize(operation), out);
  out = PutVarintField(v1::IoOperation::kIdFieldNumber, operation.id, out);
  out = PutHead(DelimitedTag(KindField(operation.kind)), KindSize(operation),
                out);
  if (operation.kind == OperationKind::kFlush) return out;
  out = PutVarintField(1, operation.offset, out);
  if (operation.kind == OperationKind::kWrite) {
    return PutBytes(2, operation.data, out);
  }
  out = PutVarintField(2, operation.length, out);
  out = PutVarintField(3, ThirdField(operation), out);
  return PutBytes(4, operation.since, out);
}

grpc::ByteBuffer ToByteBuffer(grpc_slice slice) {
  const grpc::Slice owned(slice, grpc::Slice::STEAL_REF);
  return grpc::ByteBuffer(&owned, 1);
}

// Lets protobuf read the slices of a message.
class SliceStream : public google::protobuf::io::ZeroCopyInputStream {
 public:
  explicit SliceStream(absl::Span<const grpc::Slice> slices)
      : slices_(slices) {}

  bool Next(const void** data, int* size) override {
    while (index_ < slices_.size() && offset_ == slices_[index_].size()) {
      ++index_;
      offset_ = 0;
    }
    if (index_ == slices_.size()) return false;
    *data = slices_[index_].begin() + offset_;
    *size = static_cast<int>(slices_[index_].size() - offset_);
    offset_ = slices_[index_].size();
    count_ += *size;
    return true;
  }

  // Only for bytes of the last Next.
  void BackUp(int count) override {
    offset_ -= count;
    count_ -= count;
  }

  bool Skip(int count) override {
    const void* data;
    int size;
    while (count > 0 && Next(&data, &size)) {
      if (size > count) BackUp(size - count);
      count -= std::min(size, count);
    }
    return count == 0;
  }

  int64_t ByteCount() const override { return count_; }

 private:
  const absl::Span<const grpc::Slice> slices_;
  size_t index_ = 0;
  size_t offset_ = 0;
  int64_t count_ = 0;
};

template <typename T>
bool ReadVarint(CodedInputStream& in, T& value) {
  uint64_t wide;
  if (!in.ReadVarint64(&wide)) return false;
  value = static_cast<T>(wide);
  return true;
}

bool ReadString(CodedInputStream& in, std::string& value) {
  uint32_t size;
  return in.ReadVarint32(&size) && in.ReadString(&value, size);
}

// Reads bytes as pointers into the slices, without copying them.
bool ReadPieces(CodedInputStream& in,
                absl::InlinedVector<std::string_view, 2>& pieces) {
  uint32_t left;
  if (!in.ReadVarint32(&left) ||
      left > static_cast<uint32_t>(in.BytesUntilLimit())) {
    return false;
  }
  pieces.clear();
  while (left > 0) {
    const void* data;
    int size;
    if (!in.GetDirectBufferPointer(&data, &size)) return false;
    const uint32_t take = std::min(left, static_cast<uint32_t>(size));
    pieces.emplace_back(static_cast<const char*>(data), take);
    if (!in.Skip(static_cast<int>(take))) return false;
    left -= take;
  }
  return true;
}

// Reads a message. Calls `field(tag)` for each field; it reads the value, or
// returns false on an error.
template <typename Field>
bool ReadMessage(CodedInputStream& in, Field field) {
  uint32_t size;
  if (!in.ReadVarint32(&size) || size > INT32_MAX) return false;
  const int outer = in.BytesUntilLimit();
  if (outer >= 0 && size > static_cast<uint32_t>(outer)) return false;
  const CodedInputStream::Limit limit = in.PushLimit(static_cast<int>(size));
  while (const uint32_t tag = in.ReadTag()) {
    if (!field(tag)) return false;
  }
  if (!in.ConsumedEntireMessage() || in.BytesUntilLimit() != 0) return false;
  in.PopLimit(limit);
  return true;
}

bool ReadExtent(CodedInputStream& in, Extent& extent) {
  return ReadMessage(in, [&](uint32_t tag) {
    switch (tag) {
      case VarintTag(v1::Extent::kOffsetFieldNumber):
        return ReadVarint(in, extent.offset);
      case VarintTag(v1::Extent::kLengthFieldNumber):
        return ReadVarint(in, extent.length);
      case VarintTag(v1::Extent::kHoleFieldNumber):
        return ReadVarint(in, extent.hole);
      default:
        return WireFormatLite::SkipField(&in, tag);
    }
  });
}

bool ReadError(CodedInputStream& in, absl::Status& status) {
  std::string bytes;
  google::rpc::Status error;
  if (!ReadString(in, bytes) || !error.ParseFromString(bytes)) return false;
  status = FromRpcStatus(error);
  return true;
}

bool ReadResult(CodedInputStream& in, OperationResult& result) {
  return ReadMessage(in, [&](uint32_t tag) {
    switch (tag) {
      case VarintTag(v1::IoResult::kIdFieldNumber):
        return ReadVarint(in, result.id);
      case DelimitedTag(v1::IoResult::kErrorFieldNumber):
        return ReadError(in, result.status);
      case DelimitedTag(v1::IoResult::kDataFieldNumber):
        return ReadPieces(in, result.data);
      case DelimitedTag(v1::IoResult::kExtentsFieldNumber):
      case DelimitedTag(v1::IoResult::kChangedExtentsFieldNumber):
        return ReadExtent(in, result.extents.emplace_back());
      case VarintTag(v1::IoResult::kNextOffsetFieldNumber):
        return ReadVarint(in, result.next_offset);
      default:
        return WireFormatLite::SkipField(&in, tag);
    }
  });
}

bool ReadOpened(CodedInputStream& in, VolumeOpened& opened) {
  std::string bytes;
  v1::IoOpened message;
  if (!ReadString(in, bytes) || !message.ParseFromString(bytes)) return false;
  opened = {.size_bytes = message.size_bytes(),
            .read_only = message.read_only(),
            .window_operations = message.window_operations(),
            .window_bytes = message.window_bytes(),
            .max_data_bytes = message.max_data_bytes(),
            .uid = message.uid()};
  return true;
}

bool ReadResponse(CodedInputStream& in, IncomingMessage& message) {
  while (const uint32_t tag = in.ReadTag()) {
    bool read;
    switch (tag) {
      case DelimitedTag(v1::IoResponse::kOpenedFieldNumber):
        read = ReadOpened(in, message.opened.emplace());
        break;
      case DelimitedTag(v1::IoResponse::kResultsFieldNumber):
        read = ReadResult(in, message.results.emplace_back());
        break;
      default:
        read = WireFormatLite::SkipField(&in, tag);
    }
    if (!read) return false;
  }
  return in.ConsumedEntireMessage();
}

}  // namespace

grpc::ByteBuffer EncodeOpen(const StreamOpening& opening) {
  v1::IoRequest request;
  request.set_volume(opening.volume);
  request.set_stream_id(opening.stream_id);
  for (const uint64_t id : opening.replaces) request.add_replaces(id);
  request.set_client_id(opening.client_id);
  request.set_if_unattached(opening.if_unattached);
  request.set_uid(opening.uid);
  const grpc::Slice slice(request.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

grpc::ByteBuffer EncodeOperations(absl::Span<const Operation> operations) {
  size_t size = 0;
  for (const Operation& operation : operations) {
    size += DelimitedSize(OperationSize(operation));
  }
  grpc_slice slice = grpc_slice_malloc(size);
  uint8_t* out = GRPC_SLICE_START_PTR(slice);
  for (const Operation& operation : operations) {
    out = PutOperation(operation, out);
  }
  return ToByteBuffer(slice);
}

absl::StatusOr<IncomingMessage> DecodeResponse(
    absl::Span<const grpc::Slice> slices) {
  SliceStream stream(slices);
  CodedInputStream in(&stream);
  IncomingMessage message;
  if (!ReadResponse(in, message)) {
    return absl::InternalError(
        "the server sent an IoResponse that is not valid protobuf");
  }
  return message;
}

}  // namespace ramvol
