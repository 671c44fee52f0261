// The addresses that --listen takes.
#ifndef RAMVOL_BASE_LISTEN_ADDRESS_H_
#define RAMVOL_BASE_LISTEN_ADDRESS_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ramvol {

inline constexpr size_t kMaxListenAddresses = 32;

// "unix:PATH" or "HOST:PORT"; HOST may be an IPv6 address in brackets.
struct ListenAddress {
  std::string host;       // Without brackets. Empty for a Unix socket.
  int port = 0;           // 0: any free port.
  std::string unix_path;  // Empty for TCP.

  bool is_unix() const { return !unix_path.empty(); }
  // As it was written, in gRPC's syntax.
  std::string ToString() const;
};

// INVALID_ARGUMENT names the address and says what is wrong with it.
absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text);
// Comma-separated addresses, at least one.
absl::StatusOr<std::vector<ListenAddress>> ParseListenAddresses(
    std::string_view text);

// Tries whether `address` can be listened on, because gRPC does not say why it
// failed. Removes the socket file of a server that is gone; gRPC would also
// remove the file of a running server.
//
// UNAVAILABLE names the address and the reason.
absl::Status CheckListenable(const ListenAddress& address);

}  // namespace ramvol

#endif  // RAMVOL_BASE_LISTEN_ADDRESS_H_
