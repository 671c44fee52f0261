// Files of pre-shared keys.
#ifndef RAMVOL_BASE_TLS_PSK_FILE_H_
#define RAMVOL_BASE_TLS_PSK_FILE_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"

namespace ramvol {

// Shorter keys can be guessed, and none needs more.
inline constexpr size_t kMinPskBytes = 16;
inline constexpr size_t kMaxPskBytes = 256;

// Keys, as bytes, by user.
using PskKeys = absl::flat_hash_map<std::string, std::string>;

// From the text of a file: lines "USER:HEXKEY"; empty lines, and those that
// begin with '#', are left out. INVALID_ARGUMENT names the line, and no key.
absl::StatusOr<PskKeys> ParsePskKeys(std::string_view text);

}  // namespace ramvol

#endif  // RAMVOL_BASE_TLS_PSK_FILE_H_
