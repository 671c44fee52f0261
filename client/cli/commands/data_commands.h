// read, write, trim, extents.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_DATA_COMMANDS_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_DATA_COMMANDS_H_

#include "client/cli/commands/command_set.h"

namespace ramvol::cli {

void AddDataCommands(CommandSet& commands);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_DATA_COMMANDS_H_
