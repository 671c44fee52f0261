// Where NBD clients on this host reach a server, and how that is written for
// them.
#ifndef RAMVOL_CLIENT_ATTACH_NBD_ENDPOINT_H_
#define RAMVOL_CLIENT_ATTACH_NBD_ENDPOINT_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace ramvol {

// Either unix_path or host and port is set.
struct NbdEndpoint {
  std::string unix_path;
  std::string host;  // An IPv6 address without brackets.
  int port = 0;
  bool tls = false;  // Clients must encrypt.

  bool is_unix() const { return !unix_path.empty(); }
  // "unix:PATH", "HOST:PORT", "[IPV6]:PORT".
  std::string ToString() const;
};

// INVALID_ARGUMENT unless `text` is "unix:PATH" or "HOST:PORT" with a port that
// is not 0.
absl::StatusOr<NbdEndpoint> ParseNbdEndpoint(std::string_view text);

// Whether gRPC's address `grpc_server` names this host.
bool IsOnThisHost(std::string_view grpc_server);

// Picks the best of the server's NBD addresses for this host. `grpc_server` is
// the address at which gRPC was reached, in gRPC's syntax. If that is on this
// host, picks the Unix socket. Otherwise, picks the first TCP address that
// other hosts can reach, with the host of `grpc_server` in place of "any
// address".
//
// FAILED_PRECONDITION, reason NO_NBD_LISTENER, if there is no such address. The
// message says what to do.
absl::StatusOr<NbdEndpoint> ChooseNbdEndpoint(
    const std::vector<std::string>& nbd_addresses,
    std::string_view grpc_server);

// "nbd+unix:///VOLUME?socket=PATH" or "nbd://HOST:PORT/VOLUME"; "nbds" with
// TLS.
std::string NbdUri(const NbdEndpoint& endpoint, const std::string& volume);

// The id of the object with QEMU's credentials for TLS, which QEMU's arguments
// below name where they are needed.
inline constexpr char kQemuTlsCredentials[] = "ramvol-tls";

// QEMU's arguments for a virtio disk, quoted for a shell.
std::string QemuBlockdev(const NbdEndpoint& endpoint, const std::string& volume,
                         bool read_only);
std::string QemuDrive(const NbdEndpoint& endpoint, const std::string& volume,
                      bool read_only);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_ATTACH_NBD_ENDPOINT_H_
