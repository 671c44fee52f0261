// What requests are refused before they reach a device.
#ifndef RAMVOL_NBD_BRIDGE_VALIDATION_H_
#define RAMVOL_NBD_BRIDGE_VALIDATION_H_

#include <cstdint>
#include <string>

#include "base/nbd_constants.h"
#include "nbd_bridge/protocol/transmission.h"

namespace ramvol::nbd {

// What was negotiated, and the device: constant for a connection.
struct SessionTraits {
  Style style = Style::kSimple;
  uint64_t size_bytes = 0;
  bool read_only = false;
  bool block_status = false;  // A metadata context was selected.
};

struct Refusal {
  Error error = Error::kNone;  // kNone: the request is fine.
  std::string message;
};

// Whether data follows the header. With extended headers a write must say so by
// NBD_CMD_FLAG_PAYLOAD_LEN; QEMU, at least from 8.2 to 10.0, does not, and
// sends its data all the same.
bool HasPayload(const SessionTraits& traits, const RequestHeader& header);

// Follows the protocol document; of several errors, the one that tells most.
// A fast zero is honest when it covers a whole block, which then costs no more
// than forgetting it; the ends of a range are written.
Refusal Validate(const SessionTraits& traits, const RequestHeader& header);

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_VALIDATION_H_
