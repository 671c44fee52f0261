// The client's side of NBD's negotiation, as far as the kernel's driver needs
// it: after it, the connection speaks simple replies.
#ifndef RAMVOL_CLIENT_ATTACH_NBD_HANDSHAKE_H_
#define RAMVOL_CLIENT_ATTACH_NBD_HANDSHAKE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace ramvol {

// What the server tells about an export.
struct NbdExport {
  uint64_t size_bytes = 0;
  uint16_t flags = 0;  // NBD_FLAG_... of linux/nbd.h.
  // Requests must be multiples of this. 1 if the server does not tell.
  uint32_t min_block_bytes = 1;

  bool multi_conn() const;
  bool read_only() const;
};

// Negotiates on a connected socket. The socket's own timeouts bound each step.
// After an error, the socket must not be used. The server is told, if possible.
//
// Errors: NOT_FOUND: the server has no such export. FAILED_PRECONDITION: the
// server refuses, or does not speak NBD's fixed newstyle. DATA_LOSS: the answer
// is not NBD. A FileError (base/file_error.h): a system call failed.
absl::StatusOr<NbdExport> NegotiateNbd(int fd, const std::string& name);

// Ends a connection that has no request under way, with NBD_CMD_DISC. Ignores
// errors.
void DisconnectNbd(int fd);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_ATTACH_NBD_HANDSHAKE_H_
