// The commands `snapshot`, `clone`, `revert` and `diff`.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_SNAPSHOT_COMMANDS_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_SNAPSHOT_COMMANDS_H_

#include "client/cli/commands/command_set.h"

namespace ramvol::cli {

void AddSnapshotCommands(CommandSet& commands);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_SNAPSHOT_COMMANDS_H_
