#include "client/cli/exit_code.h"

#include "absl/status/status.h"
#include "client/cli/errors.h"

namespace ramvol::cli {

const char kExitCodeHelp[] =
    "Exit codes:\n"
    "  0    done\n"
    "  1    the operation failed\n"
    "  2    wrong usage; nothing was done\n"
    "  3    no volume has this name\n"
    "  4    the name is taken\n"
    "  5    the server cannot be reached, or did not answer in time\n"
    "  6    a memory limit is reached\n"
    "  130  interrupted\n";

ExitCode ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return kExitOk;
  if (IsUsageError(status)) return kExitUsage;
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kAlreadyExists:
      return kExitAlreadyExists;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitUnavailable;
    case absl::StatusCode::kResourceExhausted:
      return kExitNoMemory;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitFailed;
  }
}

}  // namespace ramvol::cli
