#include "proto/status.h"

#include <optional>
#include <utility>

#include "absl/strings/cord.h"
#include "base/reason.h"
#include "google/rpc/error_details.pb.h"

namespace ramvol {
namespace {

// The payload is a serialized ErrorInfo with only its metadata set.
constexpr char kMetadataUrl[] = "ramvol/metadata";

google::rpc::ErrorInfo MetadataPayload(const absl::Status& status) {
  google::rpc::ErrorInfo info;
  const auto payload = status.GetPayload(kMetadataUrl);
  if (payload.has_value()) info.ParseFromString(std::string(*payload));
  return info;
}

void SetMetadataPayload(const google::rpc::ErrorInfo& info,
                        absl::Status* status) {
  // Make the Cord from a view. Its constructor from std::string is a template,
  // which clang mangles differently from the g++ that built Abseil.
  const std::string bytes = info.SerializeAsString();
  status->SetPayload(kMetadataUrl, absl::Cord(absl::string_view(bytes)));
}

google::rpc::ErrorInfo MakeErrorInfo(const absl::Status& status) {
  google::rpc::ErrorInfo info = MetadataPayload(status);
  std::string reason = GetReason(status);
  if (reason.empty()) reason = absl::StatusCodeToString(status.code());
  info.set_reason(std::move(reason));
  info.set_domain(std::string(kErrorDomain));
  return info;
}

std::string Cut(std::string_view text, size_t max) {
  if (text.size() <= max) return std::string(text);
  size_t end = max;
  // Do not cut inside a UTF-8 character: protobuf refuses such strings.
  while (end > 0 && (text[end] & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

std::string WireMessage(const absl::Status& status) {
  const absl::string_view message = status.message();
  return Cut({message.data(), message.size()}, kMaxErrorMessageBytes);
}

absl::Status WithErrorInfo(absl::Status status,
                           const google::rpc::ErrorInfo& info) {
  status = WithReason(std::move(status), info.reason());
  if (info.metadata().empty()) return status;
  google::rpc::ErrorInfo metadata;
  *metadata.mutable_metadata() = info.metadata();
  SetMetadataPayload(metadata, &status);
  return status;
}

// Adds `field`, as InvalidField does, and keeps the other payloads.
absl::Status WithField(const absl::Status& status, const std::string& field) {
  absl::Status named =
      InvalidField(field, std::string(status.message()), GetReason(status));
  status.ForEachPayload(
      [&named](absl::string_view url, const absl::Cord& payload) {
        named.SetPayload(url, payload);
      });
  return named;
}

}  // namespace

absl::Status WithMetadata(absl::Status status, std::string_view key,
                          std::string_view value) {
  if (status.ok()) return status;
  google::rpc::ErrorInfo info = MetadataPayload(status);
  (*info.mutable_metadata())[std::string(key)] = Cut(value, kMaxMetadataBytes);
  SetMetadataPayload(info, &status);
  return status;
}

std::map<std::string, std::string> GetMetadata(const absl::Status& status) {
  const google::rpc::ErrorInfo info = MetadataPayload(status);
  return {info.metadata().begin(), info.metadata().end()};
}

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  google::rpc::Status rpc;
  rpc.set_code(static_cast<int>(status.code()));
  rpc.set_message(WireMessage(status));
  rpc.add_details()->PackFrom(MakeErrorInfo(status));
  const std::string field = GetField(status);
  if (!field.empty()) {
    google::rpc::BadRequest bad_request;
    auto* violation = bad_request.add_field_violations();
    violation->set_field(field);
    violation->set_description(rpc.message());
    rpc.add_details()->PackFrom(bad_request);
  }
  return rpc;
}

absl::Status FromRpcStatus(const google::rpc::Status& rpc) {
  absl::Status status(static_cast<absl::StatusCode>(rpc.code()), rpc.message());
  for (const auto& detail : rpc.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad_request;
    if (detail.UnpackTo(&info) && info.domain() == kErrorDomain) {
      status = WithErrorInfo(std::move(status), info);
    } else if (detail.UnpackTo(&bad_request) &&
               bad_request.field_violations_size() > 0 &&
               status.code() == absl::StatusCode::kInvalidArgument) {
      status = WithField(status, bad_request.field_violations(0).field());
    }
  }
  return status;
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status rpc = ToRpcStatus(status);
  return grpc::Status(static_cast<grpc::StatusCode>(rpc.code()), rpc.message(),
                      rpc.SerializeAsString());
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  google::rpc::Status rpc;
  const bool ours = !status.error_details().empty() &&
                    rpc.ParseFromString(status.error_details()) &&
                    rpc.code() == static_cast<int>(status.error_code());
  if (ours) return FromRpcStatus(rpc);
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      status.error_message());
}

}  // namespace ramvol
