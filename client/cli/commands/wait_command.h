// ramvol wait.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_WAIT_COMMAND_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_WAIT_COMMAND_H_

#include "client/cli/commands/command_set.h"

namespace ramvol::cli {

void AddWaitCommand(CommandSet& commands);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_WAIT_COMMAND_H_
