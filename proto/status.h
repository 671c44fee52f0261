// Translates absl::Status to and from grpc::Status and google.rpc.Status. The
// only place that translates codes.
//
// Every error carries a google.rpc.ErrorInfo with domain "ramvol", the reason
// from WithReason (or else the code's name), and the metadata from
// WithMetadata. An error of InvalidField also carries a google.rpc.BadRequest
// with the field.
#ifndef RAMVOL_PROTO_STATUS_H_
#define RAMVOL_PROTO_STATUS_H_

#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"

namespace ramvol {

inline constexpr std::string_view kErrorDomain = "ramvol";

// Most bytes of an error message on the wire; longer ones are cut. gRPC sends
// messages and details in HTTP/2 trailers, and clients accept 8 KiB of these.
inline constexpr size_t kMaxErrorMessageBytes = 2048;

// Likewise of each value of the metadata.
inline constexpr size_t kMaxMetadataBytes = 256;

// Sets `key` to `value` in the metadata of the status's ErrorInfo; OK stays OK.
// For values that scripts want without parsing the message.
absl::Status WithMetadata(absl::Status status, std::string_view key,
                          std::string_view value);
// The metadata that WithMetadata set or that came over the wire.
std::map<std::string, std::string> GetMetadata(const absl::Status& status);

// For the server's answer of an RPC.
grpc::Status ToGrpcStatus(const absl::Status& status);
// For the caller of an RPC. GetReason, GetField and GetMetadata find what the
// server set. A status without our ErrorInfo, such as gRPC's own, has reason
// "".
absl::Status FromGrpcStatus(const grpc::Status& status);

// For errors inside messages. `status` must not be OK.
google::rpc::Status ToRpcStatus(const absl::Status& status);
absl::Status FromRpcStatus(const google::rpc::Status& status);

}  // namespace ramvol

#endif  // RAMVOL_PROTO_STATUS_H_
