// export.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_EXPORT_COMMAND_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_EXPORT_COMMAND_H_

#include "client/cli/commands/command_set.h"

namespace ramvol::cli {

void AddExportCommand(CommandSet& commands);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_EXPORT_COMMAND_H_
