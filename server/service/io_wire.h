// Encodes and decodes the messages of Io, and ReadResponse. Generated code
// (protobuf 3.21) would copy all data once more (docs/decisions/0021).
#ifndef RAMVOL_SERVER_SERVICE_IO_WIRE_H_
#define RAMVOL_SERVER_SERVICE_IO_WIRE_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "grpcpp/support/byte_buffer.h"
#include "ramvol/v1/block_service.pb.h"

namespace ramvol::service {

// Data of more bytes than this is not copied into the encoded message, which
// refers to it instead.
inline constexpr size_t kMaxCopiedDataBytes = 16 << 10;

// The encoding of `response`. Moves large data out of it.
grpc::ByteBuffer EncodeResponse(v1::IoResponse* response);

// The encoding of a ReadResponse with this data.
grpc::ByteBuffer EncodeReadResponse(std::unique_ptr<std::string> data);

// See DecodeMessage.
absl::Status DecodeRequest(grpc::ByteBuffer* bytes, v1::IoRequest* request);

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_IO_WIRE_H_
