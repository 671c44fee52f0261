// Recognises files that are not raw disk images.
#ifndef RAMVOL_CLIENT_CLI_TRANSFER_FILE_FORMAT_H_
#define RAMVOL_CLIENT_CLI_TRANSFER_FILE_FORMAT_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace ramvol::cli {

// How many bytes from a file's beginning tell its format.
inline constexpr size_t kFormatBytes = 512;

// `head` is the beginning of the file `path`, or of a pipe if `path` is empty.
// FAILED_PRECONDITION, reason FOREIGN_FORMAT, if that is compressed data, or a
// disk image in a format of its own, such as qcow2. The message names the
// format and the way to get the disk's bytes.
absl::Status CheckRawFormat(const std::string& path, std::string_view head);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_FILE_FORMAT_H_
