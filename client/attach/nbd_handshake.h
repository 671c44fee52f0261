// The client's side of NBD's negotiation, as far as the kernel's driver needs
// it: after it, the connection speaks simple replies.
#ifndef RAMVOL_CLIENT_ATTACH_NBD_HANDSHAKE_H_
#define RAMVOL_CLIENT_ATTACH_NBD_HANDSHAKE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace ramvol {

// What the server says of an export.
struct NbdExport {
  uint64_t size_bytes = 0;
  uint16_t flags = 0;  // NBD_FLAG_... of linux/nbd.h.
  // Requests must be multiples of this; 1 where the server does not say.
  uint32_t min_block_bytes = 1;

  bool multi_conn() const;
  bool read_only() const;
};

// Negotiates on a connected socket, whose own timeouts bound every step. After
// an error the server was told so where possible, and the socket is of no more
// use.
//
// NOT_FOUND: the server has no such export. FAILED_PRECONDITION: it refuses, or
// speaks no fixed newstyle. DATA_LOSS: what it says is not NBD. A failed system
// call: a FileError (base/file_error.h).
absl::StatusOr<NbdExport> NegotiateNbd(int fd, const std::string& name);

// Says good-bye on a connection that has no request under way; errors are
// ignored.
void DisconnectNbd(int fd);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_ATTACH_NBD_HANDSHAKE_H_
