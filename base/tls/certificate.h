// What certificates say.
#ifndef RAMVOL_BASE_TLS_CERTIFICATE_H_
#define RAMVOL_BASE_TLS_CERTIFICATE_H_

#include <openssl/x509.h>

#include <string>

#include "absl/status/status.h"
#include "base/peer_names.h"

namespace ramvol {

// The names of a certificate that was verified. Null: none.
PeerNames NamesOf(const X509* certificate);
// INVALID_ARGUMENT when it is not valid yet, or no longer; says since when.
absl::Status CheckDates(const X509* certificate);
// Whose it is and when it ends, for people: "CN=ramvold, until Jan  1 ...".
std::string Describe(const X509* certificate);

// The first of OpenSSL's queued errors, for people, or `otherwise`. Empties the
// queue.
std::string OpenSslError(const std::string& otherwise);

}  // namespace ramvol

#endif  // RAMVOL_BASE_TLS_CERTIFICATE_H_
