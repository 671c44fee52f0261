// How a daemon reaches ramvold, by flags and the environment. Linking this
// gives the program the flags --tls_ca, --tls_cert, --tls_key and --token_file.
// Where the server is, each says by a flag of its own.
#ifndef RAMVOL_CLIENT_CONNECTION_FLAGS_H_
#define RAMVOL_CLIENT_CONNECTION_FLAGS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/options.h"

namespace ramvol {

// For Program (base/program.h), whose --help lists the flags.
inline constexpr char kConnectionFlagsFile[] = "client/connection_flags.cc";

// Sets the address, to `server` or else the environment's RAMVOL_SERVER, and
// the credentials. What is given nowhere stays as it is. INVALID_ARGUMENT: see
// CheckCredentials (client/options.h).
absl::Status SetConnection(const std::string& server, ClientOptions* options);

// The credentials' flags that were given, as "--tls_ca=PATH", for a process
// that inherits the environment.
std::vector<std::string> CredentialFlags();

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_CONNECTION_FLAGS_H_
