#include "client/cli/errors.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/printable.h"
#include "base/reason.h"

namespace ramvol::cli {
namespace {

constexpr char kUsageReason[] = "USAGE";

// True when the server, not a volume, is what was not found.
bool IsUnreachable(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable &&
         GetReason(status).empty();
}

}  // namespace

absl::Status UsageError(const std::string& message) {
  return WithReason(absl::InvalidArgumentError(message), kUsageReason);
}

bool IsUsageError(const absl::Status& status) {
  return GetReason(status) == kUsageReason;
}

std::string FormatError(const std::string& what, const absl::Status& status,
                        const std::string& server) {
  std::string message(status.message());
  if (IsUnreachable(status)) {
    message =
        absl::StrCat("no server answers at ", server, ": ", message,
                     "; start one with ", "\"ramvold --listen=", server,
                     "\", or name another with --server or RAMVOL_SERVER");
  }
  std::string reason = GetReason(status);
  if (reason.empty()) reason = absl::StatusCodeToString(status.code());
  return absl::StrCat(Printable(absl::StrCat("ramvol: ", what, ": ", message,
                                             " (", reason, ")")),
                      "\n");
}

}  // namespace ramvol::cli
