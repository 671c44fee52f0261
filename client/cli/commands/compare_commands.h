// checksum, cmp.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_COMPARE_COMMANDS_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_COMPARE_COMMANDS_H_

#include "client/cli/commands/command_set.h"

namespace ramvol::cli {

void AddCompareCommands(CommandSet& commands);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_COMPARE_COMMANDS_H_
