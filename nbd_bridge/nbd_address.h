// The addresses that an NBD server listens on.
#ifndef RAMVOL_NBD_BRIDGE_NBD_ADDRESS_H_
#define RAMVOL_NBD_BRIDGE_NBD_ADDRESS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/listen_address.h"

namespace ramvol::nbd {

// "unix:PATH", "HOST:PORT", "[IPV6]:PORT", "vsock:PORT" (any context) or
// "systemd" (the sockets that systemd, or a client such as nbdcopy, passed to
// this process).
struct NbdAddress {
  enum class Kind { kStream, kVsock, kSystemd };

  Kind kind = Kind::kStream;
  ListenAddress stream;     // For kStream.
  uint32_t vsock_port = 0;  // For kVsock.
};

// Comma-separated addresses, at least one. INVALID_ARGUMENT names the address
// and says what is wrong with it.
absl::StatusOr<std::vector<NbdAddress>> ParseNbdAddresses(
    std::string_view text);

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_NBD_ADDRESS_H_
