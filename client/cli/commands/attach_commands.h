// attach, detach: volumes as devices of the kernel's nbd driver.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_ATTACH_COMMANDS_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_ATTACH_COMMANDS_H_

#include "client/cli/commands/command_set.h"

namespace ramvol::cli {

void AddAttachCommands(CommandSet& commands);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_ATTACH_COMMANDS_H_
