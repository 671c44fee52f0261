// The command line's own errors, and how all errors are shown.
#ifndef RAMVOL_CLIENT_CLI_ERRORS_H_
#define RAMVOL_CLIENT_CLI_ERRORS_H_

#include <string>

#include "absl/status/status.h"

namespace ramvol::cli {

// The command line is wrong. Exit code 2.
absl::Status UsageError(const std::string& message);
// The usage error for --output=name with a command that prints no names.
absl::Status NoNames();
// The usage error for binary data that would go to a terminal, which may take
// the data for commands.
absl::Status BinaryToTerminal();
bool IsUsageError(const absl::Status& status);

// The line for standard error: "ramvol: <what>: <message> (<REASON>)\n".
// Without a reason, the name of the status code stands there. The message has
// the words of the command line (wording.h). For a server that cannot be
// reached, it tells the address and how to start a server.
std::string FormatError(const std::string& what, const absl::Status& status,
                        const std::string& server);

// The same as a line of JSON, message ramvol.output.v1.ErrorOutput.
std::string FormatErrorJson(const std::string& what, const absl::Status& status,
                            const std::string& server);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_ERRORS_H_
