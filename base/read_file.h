// Reads a file as a whole.
#ifndef RAMVOL_BASE_READ_FILE_H_
#define RAMVOL_BASE_READ_FILE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace ramvol {

// More than any file of settings or of /proc has.
inline constexpr size_t kMaxReadFileBytes = size_t{64} << 20;

// The content of a file, also of /proc and /sys, where sizes say nothing.
//
// A read may fail as well, not the opening alone: of a folder, or of a process
// that ends meanwhile. Then std::ifstream's buffer would throw.
//
// FileError: it cannot be opened or read. OUT_OF_RANGE: it has more bytes.
absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     size_t max_bytes = kMaxReadFileBytes);

}  // namespace ramvol

#endif  // RAMVOL_BASE_READ_FILE_H_
