// Builds the bytes of a request's reply.
#ifndef RAMVOL_NBD_BRIDGE_REPLY_H_
#define RAMVOL_NBD_BRIDGE_REPLY_H_

#include "nbd_bridge/protocol/transmission.h"
#include "nbd_bridge/request.h"

namespace ramvol::nbd {

// Fills request.parts from the request's error and message or, without an
// error, from the result of a read or block status. Runs of zeroes in a read
// become holes if the client understands holes and allows more than one chunk.
// They are found in the data itself (docs/decisions/0017).
void BuildReply(Style style, Request& request);

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_REPLY_H_
