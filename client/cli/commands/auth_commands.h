// The command `auth`: who one is to the server, what one may do, new tokens.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_AUTH_COMMANDS_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_AUTH_COMMANDS_H_

#include "client/cli/commands/command_set.h"

namespace ramvol::cli {

void AddAuthCommands(CommandSet& commands);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_AUTH_COMMANDS_H_
