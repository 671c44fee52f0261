// Files that are not the bytes of a disk themselves.
#ifndef RAMVOL_CLIENT_CLI_TRANSFER_FILE_FORMAT_H_
#define RAMVOL_CLIENT_CLI_TRANSFER_FILE_FORMAT_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace ramvol::cli {

// So many bytes of a file's beginning tell its format.
inline constexpr size_t kFormatBytes = 512;

// OK unless `head`, the beginning of the file `path` (of a pipe if
// that is empty), is that of a disk image in a
// format of its own, such as qcow2, or of compressed data. FAILED_PRECONDITION,
// reason FOREIGN_FORMAT, names the format and the way to the disk's bytes.
absl::Status CheckRawFormat(const std::string& path, std::string_view head);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_FILE_FORMAT_H_
