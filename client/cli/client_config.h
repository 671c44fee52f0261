// The file with the contexts of the command line.
#ifndef RAMVOL_CLIENT_CLI_CLIENT_CONFIG_H_
#define RAMVOL_CLIENT_CLI_CLIENT_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/cli_context.h"
#include "client/cli/invocation.h"
#include "ramvol/v1/client_config.pb.h"

namespace ramvol::cli {

// RAMVOL_CONFIG, or config.textproto in ramvol/ of XDG_CONFIG_HOME or
// ~/.config; "" without a home.
std::string ConfigPath(const CliContext& context);

// Empty when there is no such file. A usage error names the place and what is
// wrong.
absl::StatusOr<v1::ClientConfig> ReadConfig(const std::string& path);
// Replaces the file at once, and makes the folders above it.
absl::Status WriteConfig(const std::string& path,
                         const v1::ClientConfig& config);

// Null when there is none of that name.
v1::ClientContext* FindContext(v1::ClientConfig* config,
                               const std::string& name);

// Sets what flags left empty: from the context that `flags` names, or else from
// the environment; the server and its credentials, when neither names a server,
// from the current context. So no server gets another's token.
absl::Status CompleteFlags(const CliContext& context, CommonFlags* flags);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_CLIENT_CONFIG_H_
