// Translates statuses to NBD errors.
#ifndef RAMVOL_NBD_BRIDGE_ERROR_H_
#define RAMVOL_NBD_BRIDGE_ERROR_H_

#include "absl/status/status.h"
#include "base/nbd_constants.h"
#include "nbd_bridge/stats.h"

namespace ramvol::nbd {

// The error that answers a failed `command`. A range past the end is ENOSPC for
// commands that store something and EINVAL for the others. A deleted volume
// (NOT_FOUND) is ESHUTDOWN. Unlisted codes are EIO.
Error ToNbdError(const absl::Status& status, Command command);

// Label values for metrics.
ErrorKind KindOf(Error error);
CommandKind KindOf(uint16_t command);

// Whether the command stores data: writes and zeroes.
bool Stores(Command command);
// Whether the command changes the volume. A read-only one refuses these.
bool Changes(Command command);

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_ERROR_H_
