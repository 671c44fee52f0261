// Checks requests before they reach a device.
#ifndef RAMVOL_NBD_BRIDGE_VALIDATION_H_
#define RAMVOL_NBD_BRIDGE_VALIDATION_H_

#include <cstdint>
#include <string>

#include "base/nbd_constants.h"
#include "nbd_bridge/protocol/transmission.h"

namespace ramvol::nbd {

// What was negotiated, and properties of the device. Constant for a connection,
// but the size.
struct SessionTraits {
  Style style = Style::kSimple;
  uint64_t size_bytes = 0;  // The device's when that was last asked.
  bool read_only = false;
  size_t contexts = 0;  // Metadata contexts that were selected.
};

struct Refusal {
  Error error = Error::kNone;  // kNone: the request is fine.
  std::string message;
};

// Whether data follows the header. With extended headers, a write must set
// NBD_CMD_FLAG_PAYLOAD_LEN. QEMU (at least 8.2 to 10.0) does not set it and
// sends data all the same.
bool HasPayload(const SessionTraits& traits, const RequestHeader& header);

// Whether the request's range ends within the device.
bool IsInRange(const SessionTraits& traits, const RequestHeader& header);

// Follows the protocol document. If several errors apply, returns the most
// telling one. A fast zero is accepted when it covers a whole block, because
// zeroing whole blocks only drops them; the parts of blocks at its ends are
// written (docs/decisions/0016).
Refusal Validate(const SessionTraits& traits, const RequestHeader& header);

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_VALIDATION_H_
