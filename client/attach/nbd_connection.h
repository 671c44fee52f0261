// A connection to an NBD server, negotiated and ready for the kernel.
#ifndef RAMVOL_CLIENT_ATTACH_NBD_CONNECTION_H_
#define RAMVOL_CLIENT_ATTACH_NBD_CONNECTION_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/attach/nbd_endpoint.h"
#include "client/attach/nbd_handshake.h"

namespace ramvol {

// Owns its socket. The kernel takes a reference to a socket that it is given.
// So the NbdConnection may be destroyed after that.
class NbdConnection {
 public:
  // Connects and negotiates. Each step may take `timeout`.
  //
  // Errors: a FileError, which names the endpoint; those of NegotiateNbd.
  static absl::StatusOr<NbdConnection> Open(const NbdEndpoint& endpoint,
                                            const std::string& name,
                                            absl::Duration timeout);

  // Takes over `fd`, which is negotiated already.
  NbdConnection(int fd, const NbdExport& description)
      : fd_(fd), export_(description) {}
  NbdConnection(NbdConnection&& other) noexcept;
  NbdConnection& operator=(NbdConnection&&) = delete;
  ~NbdConnection();

  int fd() const { return fd_; }
  const NbdExport& description() const { return export_; }

 private:
  int fd_;
  NbdExport export_;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_ATTACH_NBD_CONNECTION_H_
