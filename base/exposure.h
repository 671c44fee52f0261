// Whether other machines can reach a socket.
#ifndef RAMVOL_BASE_EXPOSURE_H_
#define RAMVOL_BASE_EXPOSURE_H_

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "base/listen_socket.h"

namespace ramvol {

// Whether the listening socket `fd` is at an address beside loopback, or of
// vsock. Unix sockets are not.
bool IsExposed(int fd);

// INVALID_ARGUMENT for the first of `sockets` that IsExposed. The text names
// its address and the ways out: `with_tls`, such as "give --tls_cert and
// --tls_key", and --insecure.
absl::Status RefuseExposed(const std::vector<ListenSocket>& sockets,
                           std::string_view with_tls);

}  // namespace ramvol

#endif  // RAMVOL_BASE_EXPOSURE_H_
