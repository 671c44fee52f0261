// Exit codes of the command line. Scripts match them: never change one.
#ifndef RAMVOL_CLIENT_CLI_EXIT_CODE_H_
#define RAMVOL_CLIENT_CLI_EXIT_CODE_H_

#include "absl/status/status.h"

namespace ramvol::cli {

enum ExitCode : int {
  kExitOk = 0,
  // The operation failed in a way that has no code of its own.
  kExitFailed = 1,
  // The command line itself is wrong. Nothing was done.
  kExitUsage = 2,
  kExitNotFound = 3,       // No volume has this name.
  kExitAlreadyExists = 4,  // The name is taken.
  kExitUnavailable = 5,    // The server cannot be reached or was too slow.
  kExitNoMemory = 6,       // A memory limit of the server or volume is reached.
  kExitInterrupted = 130,  // By SIGINT or SIGTERM, as shells count it.
};

// The exit code for the outcome of a command.
ExitCode ExitCodeOf(const absl::Status& status);

// The table of the codes above, for --help.
extern const char kExitCodeHelp[];

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_EXIT_CODE_H_
