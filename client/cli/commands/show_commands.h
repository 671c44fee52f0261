// show, stat, clients, server, version, health.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_SHOW_COMMANDS_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_SHOW_COMMANDS_H_

#include "client/cli/commands/command_set.h"

namespace ramvol::cli {

void AddShowCommands(CommandSet& commands);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_SHOW_COMMANDS_H_
