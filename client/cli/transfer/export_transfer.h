// Copies a volume to a local file.
#ifndef RAMVOL_CLIENT_CLI_TRANSFER_EXPORT_TRANSFER_H_
#define RAMVOL_CLIENT_CLI_TRANSFER_EXPORT_TRANSFER_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "client/cli/local_file.h"
#include "client/cli/transfer/transfer.h"
#include "client/remote_volume.h"

namespace ramvol::cli {

struct ExportRequest {
  // The range of the volume.
  int64_t offset = 0;
  int64_t length = 0;
};

struct ExportResult {
  int64_t read_bytes = 0;     // Read from the volume.
  int64_t written_bytes = 0;  // Written to the file, without holes.
};

// Makes the file equal to the range. Does not read holes of the volume. In a
// file with random access, holes and blocks of zeroes become holes. Into
// another file, such as a pipe, zeroes are written. The caller closes the file.
//
// Errors: the server's, FileErrors of the file, InterruptedError. After an
// error, the file is incomplete.
absl::StatusOr<ExportResult> Export(const RemoteVolume& volume, LocalFile& file,
                                    const ExportRequest& request,
                                    const TransferControl& control);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_EXPORT_TRANSFER_H_
