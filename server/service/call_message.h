// Decodes and encodes the messages of unary calls. gRPC's generated code would
// answer a malformed message with a bare UNIMPLEMENTED.
#ifndef RAMVOL_SERVER_SERVICE_CALL_MESSAGE_H_
#define RAMVOL_SERVER_SERVICE_CALL_MESSAGE_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "base/client_memory.h"
#include "google/protobuf/descriptor.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/proto_buffer_reader.h"

namespace ramvol::service {

// The error for bytes that are not a message of this `type`: INVALID_ARGUMENT,
// reason MALFORMED_REQUEST, with the method's name.
absl::Status MalformedRequest(const google::protobuf::Descriptor& type);

// Consumes `bytes`.
template <typename Request>
absl::Status DecodeMessage(grpc::ByteBuffer* bytes, Request* request) {
  if (grpc::SerializationTraits<Request>::Deserialize(bytes, request).ok()) {
    return absl::OkStatus();
  }
  return MalformedRequest(*Request::descriptor());
}

// What a client is told whose request of `bytes` has no reason to be so long.
absl::Status TooLongRequest(const google::protobuf::Descriptor& type,
                            size_t bytes);

// The same of requests that carry no data: a large one (see ClientMemory) is
// refused, so that nothing large is held for a call whose answer has to wait.
template <typename Request>
absl::Status DecodeSmallMessage(const grpc::ByteBuffer* bytes,
                                Request* request) {
  if (bytes->Length() > ClientMemory::kLargeMessageBytes) {
    return TooLongRequest(*Request::descriptor(), bytes->Length());
  }
  return DecodeMessage(const_cast<grpc::ByteBuffer*>(bytes), request);
}

template <typename Response>
void EncodeMessage(const Response& response, grpc::ByteBuffer* bytes) {
  bool own = false;
  // Cannot fail: the message is in memory.
  (void)grpc::SerializationTraits<Response>::Serialize(response, bytes, &own);
}

// Makes a call on bytes of `call(const Request&, Response*)`. Both buffers must
// outlive it. Running it consumes the request's bytes.
template <typename Request, typename Response, typename Call>
std::function<absl::Status()> OnMessages(const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response,
                                         Call call) {
  // gRPC does not look at the request's bytes again, so decoding may consume
  // them.
  return [bytes = const_cast<grpc::ByteBuffer*>(request), response,
          call = std::move(call)] {
    Request decoded;
    Response answer;
    absl::Status status = DecodeMessage(bytes, &decoded);
    if (status.ok()) status = call(decoded, &answer);
    if (status.ok()) EncodeMessage(answer, response);
    return status;
  };
}

// The same of `call(Turn&, const Request&, Response*)`, for calls that may have
// to wait for their turn (unary.h), which keep the request meanwhile.
template <typename Request, typename Response, typename Turn, typename Call>
std::function<absl::Status(Turn&)> OnMessagesInTurn(
    const grpc::ByteBuffer* request, grpc::ByteBuffer* response, Call call) {
  return [bytes = const_cast<grpc::ByteBuffer*>(request), response,
          call = std::move(call),
          kept = std::shared_ptr<Request>()](Turn& turn) mutable {
    Request decoded;
    Response answer;
    absl::Status status;
    if (kept == nullptr) status = DecodeMessage(bytes, &decoded);
    if (status.ok()) {
      status = call(turn, kept == nullptr ? decoded : *kept, &answer);
    }
    if (turn.waits()) {
      if (kept == nullptr) kept = std::make_shared<Request>(std::move(decoded));
    } else if (status.ok()) {
      EncodeMessage(answer, response);
    }
    return status;
  };
}

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_CALL_MESSAGE_H_
