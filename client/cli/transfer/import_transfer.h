// Copies a local file to a volume.
#ifndef RAMVOL_CLIENT_CLI_TRANSFER_IMPORT_TRANSFER_H_
#define RAMVOL_CLIENT_CLI_TRANSFER_IMPORT_TRANSFER_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "client/cli/local_file.h"
#include "client/cli/transfer/transfer.h"
#include "client/remote_volume.h"

namespace ramvol::cli {

struct ImportRequest {
  // The volume's offset for the file's first byte.
  int64_t volume_offset = 0;
  // The bytes from there to the volume's end. A longer file fails with
  // OUT_OF_RANGE: a regular file at once, a pipe when it turns out to be
  // longer.
  int64_t room_bytes = 0;
  // The range stores nothing yet, so that holes need no trim.
  bool fresh = false;
};

struct ImportResult {
  int64_t source_bytes = 0;  // Length of the source, holes included.
  int64_t sent_bytes = 0;    // Those that were not zero, and so were written.
};

// Makes the volume's bytes from request.volume_offset on equal to the source's.
// Holes of the source and blocks of zeroes are not sent, but trimmed. In a
// fresh range, even that is not needed.
//
// Errors: FileErrors of the source; a source that became shorter meanwhile; the
// server's; InterruptedError. After an error, parts may have been written.
absl::StatusOr<ImportResult> Import(LocalFile& source,
                                    const RemoteVolume& volume,
                                    const ImportRequest& request,
                                    const TransferControl& control);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_IMPORT_TRANSFER_H_
