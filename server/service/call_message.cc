#include "server/service/call_message.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/reason.h"

namespace ramvol::service {

absl::Status MalformedRequest(const google::protobuf::Descriptor& type) {
  const std::string& name = type.name();
  return WithReason(
      absl::InvalidArgumentError(absl::StrCat(
          "the request of ", absl::StripSuffix(name, "Request"),
          " cannot be parsed as ", type.full_name(),
          "; strings have to be UTF-8, and the client's proto has to be the "
          "server's")),
      reason::kMalformedRequest);
}

absl::Status TooLongRequest(const google::protobuf::Descriptor& type,
                            size_t bytes) {
  return WithReason(
      absl::InvalidArgumentError(absl::StrCat(
          "the request of ", absl::StripSuffix(type.name(), "Request"), " has ",
          bytes, " bytes; it may have at most ",
          ClientMemory::kLargeMessageBytes)),
      reason::kMalformedRequest);
}

}  // namespace ramvol::service
