// `ramvol config`: servers by names.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_CONFIG_COMMAND_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_CONFIG_COMMAND_H_

#include "client/cli/commands/command_set.h"

namespace ramvol::cli {

// The name under which CommandSet::used knows it: it needs no server, and must
// work with a context that is not there.
inline constexpr char kConfigCommand[] = "config";

void AddConfigCommand(CommandSet& commands);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_CONFIG_COMMAND_H_
