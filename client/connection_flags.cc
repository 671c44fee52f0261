#include "client/connection_flags.h"

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "client/server_address.h"

ABSL_FLAG(std::string, tls_ca, "",
          "The certificates that sign ramvold's, in PEM, or \"system\" for "
          "those of this machine. When not given: the environment's "
          "RAMVOL_TLS_CA; without, ramvold is reached without TLS. This file "
          "and those of the next flags are read again when they change.");
ABSL_FLAG(std::string, tls_cert, "",
          "The certificate by which ramvold knows this program, in PEM. When "
          "not given: RAMVOL_TLS_CERT.");
ABSL_FLAG(std::string, tls_key, "",
          "The key of --tls_cert, in PEM. When not given: RAMVOL_TLS_KEY.");
ABSL_FLAG(std::string, token_file, "",
          "A file with the token by which ramvold knows this program. When not "
          "given: RAMVOL_TOKEN_FILE.");

namespace ramvol {
namespace {

// The value, or else the environment's, or else "".
std::string OrEnvironment(std::string value, const char* variable) {
  if (!value.empty()) return value;
  const char* const set = std::getenv(variable);
  return set == nullptr ? "" : set;
}

}  // namespace

absl::Status SetConnection(const std::string& server, ClientOptions* options) {
  const std::string address = OrEnvironment(server, "RAMVOL_SERVER");
  if (!address.empty()) options->server = WithDefaultPort(address);
  options->tls_ca = OrEnvironment(absl::GetFlag(FLAGS_tls_ca), "RAMVOL_TLS_CA");
  options->tls_cert =
      OrEnvironment(absl::GetFlag(FLAGS_tls_cert), "RAMVOL_TLS_CERT");
  options->tls_key =
      OrEnvironment(absl::GetFlag(FLAGS_tls_key), "RAMVOL_TLS_KEY");
  options->token_file =
      OrEnvironment(absl::GetFlag(FLAGS_token_file), "RAMVOL_TOKEN_FILE");
  return CheckCredentials(*options);
}

std::vector<std::string> CredentialFlags() {
  std::vector<std::string> given;
  for (const auto& [name, flag] :
       {std::pair("--tls_ca=", &FLAGS_tls_ca),
        std::pair("--tls_cert=", &FLAGS_tls_cert),
        std::pair("--tls_key=", &FLAGS_tls_key),
        std::pair("--token_file=", &FLAGS_token_file)}) {
    const std::string value = absl::GetFlag(*flag);
    if (!value.empty()) given.push_back(absl::StrCat(name, value));
  }
  return given;
}

}  // namespace ramvol
