// The command line's own errors, and how all errors are shown.
#ifndef RAMVOL_CLIENT_CLI_ERRORS_H_
#define RAMVOL_CLIENT_CLI_ERRORS_H_

#include <string>

#include "absl/status/status.h"

namespace ramvol::cli {

// A wrong command line; exit code 2.
absl::Status UsageError(const std::string& message);
bool IsUsageError(const absl::Status& status);

// A failed system call on a local file: `message`, the text of `error` (an
// errno value) and its name as the reason. Its code is UNKNOWN, so that a
// missing file is never taken for a missing volume, nor a full disk for a full
// server.
absl::Status FileError(int error, const std::string& message);
// True for the FileError of a pipe whose reader is gone.
bool IsBrokenPipe(const absl::Status& status);

// What stops a command after SIGINT or SIGTERM; exit code 130.
absl::Status InterruptedError();

// `status` with `context` and ": " before its message; code and reason stay.
absl::Status Annotate(const absl::Status& status, const std::string& context);

// The line for standard error: "ramvol: <what>: <message> (<REASON>)\n". The
// reason is the status code's name where no reason was set. An unreachable
// server is named, with the way to start one.
std::string FormatError(const std::string& what, const absl::Status& status,
                        const std::string& server);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_ERRORS_H_
