// save and restore.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_IMAGE_COMMANDS_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_IMAGE_COMMANDS_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/invocation.h"
#include "client/client.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {

void AddImageCommands(CommandSet& commands);

// Copies `source`, a volume or "@" and a snapshot, from one server to another,
// compressed. `volume` has the new one's name and what is to be other than the
// source's.
absl::StatusOr<v1::Volume> CopyToServer(const Invocation& invocation,
                                        const Client& from,
                                        const std::string& source,
                                        const Client& to,
                                        const v1::CreateVolumeRequest& volume);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_IMAGE_COMMANDS_H_
