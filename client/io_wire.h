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

// An IoRequest without operations.
grpc::ByteBuffer EncodeOpen(const StreamOpening& opening);

// An IoRequest of operations; their data is copied.
grpc::ByteBuffer EncodeOperations(absl::Span<const Operation> operations);

// Decodes an IoResponse. The data in the result points into `slices`, which
// the caller keeps (see grpc::ByteBuffer::Dump). INTERNAL if it is malformed.
absl::StatusOr<IncomingMessage> DecodeResponse(
    absl::Span<const grpc::Slice> slices);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_IO_WIRE_H_
