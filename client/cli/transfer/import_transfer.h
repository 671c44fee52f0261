// From a local file into a volume.
#ifndef RAMVOL_CLIENT_CLI_TRANSFER_IMPORT_TRANSFER_H_
#define RAMVOL_CLIENT_CLI_TRANSFER_IMPORT_TRANSFER_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "client/cli/local_file.h"
#include "client/cli/transfer/transfer.h"
#include "client/remote_volume.h"

namespace ramvol::cli {

struct ImportRequest {
  // Where the file's first byte goes.
  int64_t volume_offset = 0;
  // Bytes from there to the volume's end. A longer file is an error,
  // OUT_OF_RANGE; a pipe is read until it turns out to be longer.
  int64_t room_bytes = 0;
  // Nothing is stored in the range yet, so that holes need no trim.
  bool fresh = false;
};

struct ImportResult {
  int64_t source_bytes = 0;  // Length of the source, holes included.
  int64_t sent_bytes = 0;    // Of which not zero, and so written.
};

// Makes the volume's bytes from request.volume_offset on equal to the source's.
// Holes of the source and blocks of zeroes are not sent: they are trimmed, or
// left alone in a fresh range. On an error, parts have been written.
//
// Errors: FileErrors of the source, a source that became shorter meanwhile, the
// server's errors, InterruptedError.
absl::StatusOr<ImportResult> Import(LocalFile& source,
                                    const RemoteVolume& volume,
                                    const ImportRequest& request,
                                    const TransferControl& control);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_IMPORT_TRANSFER_H_
