// The command `diff`.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_DIFF_COMMAND_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_DIFF_COMMAND_H_

#include "client/cli/commands/command_set.h"

namespace ramvol::cli {

void AddDiffCommand(CommandSet& commands);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_DIFF_COMMAND_H_
