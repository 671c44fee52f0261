// IoRequest, IoResponse and ReadResponse between messages of protobuf and the
// bytes that gRPC moves. Generated code on protobuf 3.21 would copy all data
// once more.
#ifndef RAMVOL_SERVER_SERVICE_IO_WIRE_H_
#define RAMVOL_SERVER_SERVICE_IO_WIRE_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "grpcpp/support/byte_buffer.h"
#include "ramvol/v1/block_service.pb.h"

namespace ramvol::service {

// Data of more bytes than this is not copied into the message: the message
// refers to it.
inline constexpr size_t kMaxCopiedDataBytes = 16 << 10;

// The bytes of `response`, plain protobuf. Takes large data out of it.
grpc::ByteBuffer EncodeResponse(v1::IoResponse* response);

// The same of ReadResponse with this data.
grpc::ByteBuffer EncodeReadResponse(std::unique_ptr<std::string> data);

// As DecodeMessage.
absl::Status DecodeRequest(grpc::ByteBuffer* bytes, v1::IoRequest* request);

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_IO_WIRE_H_
