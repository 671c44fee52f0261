#include "base/file_error.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/reason.h"

namespace ramvol {
namespace {

std::string ErrnoName(int error) {
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : absl::StrCat("ERRNO_", error);
}

}  // namespace

absl::Status FileError(int error, const std::string& message) {
  return WithReason(
      absl::UnknownError(absl::StrCat(message, ": ", strerror(error))),
      ErrnoName(error));
}

bool IsBrokenPipe(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnknown &&
         GetReason(status) == ErrnoName(EPIPE);
}

absl::Status InterruptedError() {
  return WithReason(absl::CancelledError("interrupted"), "INTERRUPTED");
}

}  // namespace ramvol
