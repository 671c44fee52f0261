// Errors on the wire: absl::Status to and from grpc::Status and
// google.rpc.Status. The one place where codes are translated.
//
// Every error carries a google.rpc.ErrorInfo with domain "ramvol", the reason
// that WithReason gave (or the code's name when it gave none), and the metadata
// that WithMetadata gave; INVALID_ARGUMENT that names a field (InvalidField)
// carries a google.rpc.BadRequest as well.
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

// Most bytes of a message on the wire; a longer one is cut off. gRPC sends
// messages and details in HTTP/2 trailers, of which clients accept 8 KiB.
inline constexpr size_t kMaxErrorMessageBytes = 2048;

// Returns `status` with `key` set to `value` in its ErrorInfo's metadata; OK
// stays OK. For what a script may want without parsing the message.
absl::Status WithMetadata(absl::Status status, std::string_view key,
                          std::string_view value);
// What WithMetadata set, or what came over the wire.
std::map<std::string, std::string> GetMetadata(const absl::Status& status);

// For the answer of an RPC.
grpc::Status ToGrpcStatus(const absl::Status& status);
// For its caller: reason, field and metadata are found by GetReason, GetField
// and GetMetadata. A status without our ErrorInfo, such as gRPC's own, has
// reason "".
absl::Status FromGrpcStatus(const grpc::Status& status);

// For errors inside of messages. `status` must not be OK.
google::rpc::Status ToRpcStatus(const absl::Status& status);
absl::Status FromRpcStatus(const google::rpc::Status& status);

}  // namespace ramvol

#endif  // RAMVOL_PROTO_STATUS_H_
