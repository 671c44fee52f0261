// IoRequest and IoResponse of block_service.proto, encoded and decoded by hand:
// data is copied once on its way, where generated code on protobuf 3.21 copies
// it twice. The bytes are plain protobuf.
#ifndef RAMVOL_CLIENT_IO_WIRE_H_
#define RAMVOL_CLIENT_IO_WIRE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/io_transport.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"

namespace ramvol {

// Encodes an IoRequest without operations.
grpc::ByteBuffer EncodeOpen(const StreamOpening& opening);

// Encodes an IoRequest of operations. Copies their data.
grpc::ByteBuffer EncodeOperations(absl::Span<const Operation> operations);

// Decodes an IoResponse. The data in the result points into `slices`, which the
// caller must keep (see grpc::ByteBuffer::Dump). INTERNAL if the message is
// malformed.
absl::StatusOr<IncomingMessage> DecodeResponse(
    absl::Span<const grpc::Slice> slices);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_IO_WIRE_H_
