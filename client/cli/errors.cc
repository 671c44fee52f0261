#include "client/cli/errors.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/printable.h"
#include "base/reason.h"
#include "client/cli/output/json.h"
#include "client/cli/wording.h"
#include "proto/status.h"
#include "ramvol/output/v1/output.pb.h"

namespace ramvol::cli {
namespace {

constexpr char kUsageReason[] = "USAGE";

// Whether the server, not a volume, was not found.
bool IsUnreachable(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable &&
         GetReason(status).empty();
}

std::string MessageOf(const absl::Status& status, const std::string& server) {
  const std::string message(status.message());
  return IsUnreachable(status) ? UnreachableText(message, server)
                               : InWordsOfCommandLine(message);
}

std::string ReasonOf(const absl::Status& status) {
  const std::string reason = GetReason(status);
  return reason.empty() ? absl::StatusCodeToString(status.code()) : reason;
}

}  // namespace

absl::Status UsageError(const std::string& message) {
  return WithReason(absl::InvalidArgumentError(message), kUsageReason);
}

absl::Status NoNames() {
  return UsageError("this command has no names for --output=name to print");
}

absl::Status BinaryToTerminal() {
  return UsageError(
      "bytes that are no text are not written to a terminal; send them into a "
      "file or a pipe, or give --force");
}

bool IsUsageError(const absl::Status& status) {
  return GetReason(status) == kUsageReason;
}

std::string FormatError(const std::string& what, const absl::Status& status,
                        const std::string& server) {
  const std::string line =
      absl::StrCat("ramvol: ", what, ": ", MessageOf(status, server), " (",
                   ReasonOf(status), ")");
  return absl::StrCat(Printable(line), "\n");
}

std::string FormatErrorJson(const std::string& what, const absl::Status& status,
                            const std::string& server) {
  output::v1::ErrorOutput output;
  output::v1::Error& error = *output.mutable_error();
  error.set_command(what);
  error.set_code(absl::StatusCodeToString(status.code()));
  error.set_reason(ReasonOf(status));
  error.set_message(Printable(MessageOf(status, server)));
  for (const auto& [key, value] : GetMetadata(status)) {
    (*error.mutable_metadata())[key] = Printable(value);
  }
  return ToJsonLine(output);
}

}  // namespace ramvol::cli
