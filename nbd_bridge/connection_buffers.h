// How much the buffers of one connection may hold.
#ifndef RAMVOL_NBD_BRIDGE_CONNECTION_BUFFERS_H_
#define RAMVOL_NBD_BRIDGE_CONNECTION_BUFFERS_H_

#include "base/client_memory.h"
#include "nbd_bridge/socket.h"

namespace ramvol::nbd {

// The kernel's buffers of a connection and its reader's: narrow at first, wide
// while they are worth their memory. Wide ones come out of the client memory.
//
// Externally synchronised. Borrows everything.
class ConnectionBuffers {
 public:
  // `socket` is narrow, and `holder` is open.
  ConnectionBuffers(Socket& socket, ClientMemory::Holder& holder)
      : socket_(socket), holder_(holder) {}

  ConnectionBuffers(const ConnectionBuffers&) = delete;
  ConnectionBuffers& operator=(const ConnectionBuffers&) = delete;

  // Whether the reader may receive into a wide slab.
  bool wide() const { return wide_; }

  // Makes narrow buffers wide. False, and nothing changes, when they are wide
  // already or there is no memory to spare.
  bool Widen();

  // Makes wide buffers narrow, and gives their memory back. Call it when the
  // connection is idle. False while the client has not taken what was sent:
  // then they stay wide, and the client memory is told that this holder waits
  // for its client, until the next call or NoteProgress.
  bool Narrow();

  // The client moves again, or has left.
  void NoteProgress() { SetUntaken(false); }

 private:
  void SetUntaken(bool untaken);

  Socket& socket_;
  ClientMemory::Holder& holder_;
  bool wide_ = false;
  // Nothing is left to do but for the client to take what has been sent.
  bool untaken_ = false;
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_CONNECTION_BUFFERS_H_
