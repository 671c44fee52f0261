// uri, qemu: how other programs reach a volume.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_NBD_COMMANDS_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_NBD_COMMANDS_H_

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "client/attach/nbd_endpoint.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/invocation.h"

namespace ramvol::cli {

void AddNbdCommands(CommandSet& commands);

// The flag --nbd of commands that need the server's NBD address.
CLI::Option* AddNbdAddress(CLI::App* command, std::string* address);

// What `address` (of --nbd, or else of RAMVOL_NBD) says, or, when it is empty,
// what the server tells.
absl::StatusOr<NbdEndpoint> FindNbdEndpoint(const Invocation& invocation,
                                            std::string address);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_NBD_COMMANDS_H_
