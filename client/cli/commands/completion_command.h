// completion.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_COMPLETION_COMMAND_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_COMPLETION_COMMAND_H_

#include <vector>

#include "CLI/CLI.hpp"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/completion.h"

namespace ramvol::cli {

void AddCompletionCommand(CommandSet& commands);

// The parser's commands, for completion.
std::vector<CompletionCommand> DescribeCommands(const CLI::App& app);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_COMPLETION_COMMAND_H_
