// The command line's own errors, and how all errors are shown.
#ifndef RAMVOL_CLIENT_CLI_ERRORS_H_
#define RAMVOL_CLIENT_CLI_ERRORS_H_

#include <string>

#include "absl/status/status.h"

namespace ramvol::cli {

// A wrong command line; exit code 2.
absl::Status UsageError(const std::string& message);
// Of --output=name with a command that answers with no names.
absl::Status NoNames();
// Of bytes that would go to a terminal, which may take them for commands.
absl::Status BinaryToTerminal();
bool IsUsageError(const absl::Status& status);

// The line for standard error: "ramvol: <what>: <message> (<REASON>)\n". The
// reason is the status code's name where no reason was set. The message has the
// words of the command line (wording.h); an unreachable server is named, with
// the way to start one.
std::string FormatError(const std::string& what, const absl::Status& status,
                        const std::string& server);

// The same as a line of JSON, message ramvol.output.v1.ErrorOutput.
std::string FormatErrorJson(const std::string& what, const absl::Status& status,
                            const std::string& server);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_ERRORS_H_
