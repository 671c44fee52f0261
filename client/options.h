// Settings of a Client.
#ifndef RAMVOL_CLIENT_OPTIONS_H_
#define RAMVOL_CLIENT_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ramvol {

struct ClientOptions {
  // Where ramvold listens: "127.0.0.1:7420", "[::1]:7420", "unix:/path", or any
  // other target of gRPC.
  std::string server = "127.0.0.1:7420";
  // Connections, each with its own socket, over which a RemoteVolume stripes
  // its operations. 1 to 16.
  int channels = 2;
  // The longest time that one call may take, with retries and reconnecting.
  // After that, the call fails with DEADLINE_EXCEEDED.
  absl::Duration timeout = absl::Seconds(60);
  // The longest time to wait for a lost server. Unanswered operations are kept
  // meanwhile, and are sent again when the server is back. 0: fail with
  // UNAVAILABLE at once.
  absl::Duration reconnect_timeout = absl::Seconds(30);
  // Pauses between attempts grow from the first of these to the second, with
  // jitter.
  absl::Duration initial_backoff = absl::Milliseconds(20);
  absl::Duration max_backoff = absl::Seconds(2);
  // Bounds the data in unanswered operations of one RemoteVolume. Callers
  // beyond it wait. The server's window may be smaller; it holds, too.
  size_t max_inflight_bytes = 64 << 20;

  // Encrypts connections other than to Unix sockets. PEM files, which are read
  // again when they change: the certificates that sign the server's
  // (kSystemCa: those of this machine; empty: no TLS), and the client's own
  // certificate and key, if it needs them.
  static constexpr char kSystemCa[] = "system";
  std::string tls_ca = {};
  std::string tls_cert = {};
  std::string tls_key = {};
  // A file with a token that says who the client is, sent with each call. Needs
  // TLS or a Unix socket, which the server has to own: whoever listens there
  // gets the token.
  std::string token_file = {};
};

// INVALID_ARGUMENT when the options about TLS do not fit together, or name a
// file that cannot be read. A Client with such options does not connect.
absl::Status CheckCredentials(const ClientOptions& options);

// For Client::Open.
struct OpenOptions {
  // Opens the volume only if no other client has it open, over any protocol.
  // Otherwise FAILED_PRECONDITION, reason VOLUME_ATTACHED; the message names
  // the client. Others may open the volume later. A reconnection does not ask
  // again.
  bool if_unattached = false;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_OPTIONS_H_
