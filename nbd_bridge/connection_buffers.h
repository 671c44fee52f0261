// The sizes of one connection's buffers.
#ifndef RAMVOL_NBD_BRIDGE_CONNECTION_BUFFERS_H_
#define RAMVOL_NBD_BRIDGE_CONNECTION_BUFFERS_H_

#include "base/client_memory.h"
#include "nbd_bridge/socket.h"

namespace ramvol::nbd {

// The kernel's buffers and the request reader's: narrow at first, wide while
// the connection is busy. Wide ones are charged to the client memory.
//
// Externally synchronised. Borrows everything.
class ConnectionBuffers {
 public:
  // `socket` must be narrow and `holder` open.
  ConnectionBuffers(Socket& socket, ClientMemory::Holder& holder)
      : socket_(socket), holder_(holder) {}

  ConnectionBuffers(const ConnectionBuffers&) = delete;
  ConnectionBuffers& operator=(const ConnectionBuffers&) = delete;

  // Whether the reader may receive into a wide slab.
  bool wide() const { return wide_; }

  // Makes narrow buffers wide. False, without any change, when they are wide
  // already or there is no memory to spare.
  bool Widen();

  // Makes wide buffers narrow and gives their memory back. Call this when the
  // connection is idle. False while the client has not taken what was sent: the
  // buffers then stay wide, and until the next call or NoteProgress the client
  // memory knows that this holder waits for its client.
  bool Narrow();

  // Bytes moved again, or the client has left.
  void NoteProgress() { SetUntaken(false); }

 private:
  void SetUntaken(bool untaken);

  Socket& socket_;
  ClientMemory::Holder& holder_;
  bool wide_ = false;
  // All that is left is for the client to take what was sent.
  bool untaken_ = false;
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_CONNECTION_BUFFERS_H_
