// The command `events`.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_EVENTS_COMMAND_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_EVENTS_COMMAND_H_

#include "client/cli/commands/command_set.h"

namespace ramvol::cli {

void AddEventsCommand(CommandSet& commands);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_EVENTS_COMMAND_H_
