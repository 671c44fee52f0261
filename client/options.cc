#include "client/options.h"

#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace ramvol {

absl::Status CheckCredentials(const ClientOptions& options) {
  const auto bad = [](const std::string& text) {
    return absl::InvalidArgumentError(text);
  };
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return bad("tls_cert and tls_key go together; give both or neither");
  }
  const bool unix_socket = absl::StartsWith(options.server, "unix:");
  if (options.tls_ca.empty() && !unix_socket &&
      (!options.tls_cert.empty() || !options.token_file.empty())) {
    return bad(
        "a certificate or a token needs TLS; give tls_ca, the certificates "
        "that sign the server's, or \"system\" for those of this machine");
  }
  for (const std::string* path : {&options.tls_ca, &options.tls_cert,
                                  &options.tls_key, &options.token_file}) {
    if (path->empty() || *path == ClientOptions::kSystemCa) continue;
    if (!std::ifstream(*path).is_open()) {
      return bad(absl::StrCat(*path, " cannot be read"));
    }
  }
  return absl::OkStatus();
}

}  // namespace ramvol
