// From statuses to the errors of NBD.
#ifndef RAMVOL_NBD_BRIDGE_ERROR_H_
#define RAMVOL_NBD_BRIDGE_ERROR_H_

#include "absl/status/status.h"
#include "base/nbd_constants.h"
#include "nbd_bridge/stats.h"

namespace ramvol::nbd {

// What a failed `command` answers. A range past the end is ENOSPC for commands
// that store something and EINVAL for the others; a deleted volume (NOT_FOUND)
// is ESHUTDOWN; what is not listed in the style guide's table is EIO.
Error ToNbdError(const absl::Status& status, Command command);

// For counting.
ErrorKind KindOf(Error error);
CommandKind KindOf(uint16_t command);

// What the command stores: writes and zeroes.
bool Stores(Command command);
// Whether the command changes the volume, which a read-only one refuses.
bool Changes(Command command);

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_ERROR_H_
