// Messages of calls between bytes and protobuf, decoded here: generated
// code answers what it cannot decode with UNIMPLEMENTED, and nothing else.
#ifndef RAMVOL_SERVER_SERVICE_CALL_MESSAGE_H_
#define RAMVOL_SERVER_SERVICE_CALL_MESSAGE_H_

#include <cstddef>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "base/client_memory.h"
#include "google/protobuf/descriptor.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/proto_buffer_reader.h"

namespace ramvol::service {

// What a client is told whose bytes are no message of this `type`:
// INVALID_ARGUMENT, reason MALFORMED_REQUEST, with the method's name.
absl::Status MalformedRequest(const google::protobuf::Descriptor& type);

// Takes the bytes.
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

// The call on bytes that runs `call(const Request&, Response*)`. Both buffers
// have to stay; the request's bytes are taken.
template <typename Request, typename Response, typename Call>
std::function<absl::Status()> OnMessages(const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response,
                                         Call call) {
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

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_CALL_MESSAGE_H_
