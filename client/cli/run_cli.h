// The whole command line, as a function.
#ifndef RAMVOL_CLIENT_CLI_RUN_CLI_H_
#define RAMVOL_CLIENT_CLI_RUN_CLI_H_

#include <string>
#include <vector>

#include "client/cli/cli_context.h"
#include "client/cli/exit_code.h"

namespace ramvol::cli {

// Runs one command line. `arguments` does not have the program's name. Results
// go to standard output, errors to standard error. Never throws.
ExitCode RunCli(const std::vector<std::string>& arguments,
                const CliContext& context);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_RUN_CLI_H_
