// From the result of a request to the bytes of its reply.
#ifndef RAMVOL_NBD_BRIDGE_REPLY_H_
#define RAMVOL_NBD_BRIDGE_REPLY_H_

#include "nbd_bridge/protocol/transmission.h"
#include "nbd_bridge/request.h"

namespace ramvol::nbd {

// Fills in request.parts by request.error and message or, when there is no
// error, by what a read or block status found. Runs of zeroes in a read become
// holes where the client understands them and allows more than one chunk: what
// was read shows them without a second look at the volume.
void BuildReply(Style style, Request& request);

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_REPLY_H_
