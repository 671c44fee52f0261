// Sizes as people write them: 4096, 512M, 1.5G.
#ifndef RAMVOL_BASE_SIZE_H_
#define RAMVOL_BASE_SIZE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace ramvol {

// Reads a number of bytes: decimal digits, perhaps with a fraction, then
// perhaps a unit K, M, G, T, P or E (powers of 1024), in either case, which "B"
// or "iB" may follow: "10G", "1.5GiB", "512 mb", "4096". "B" alone means bytes.
// A fraction of a byte is cut off.
//
// INVALID_ARGUMENT says what is wrong with `text`; so does it for sizes past
// 2^63 - 1, the largest that the interfaces can carry.
absl::StatusOr<uint64_t> ParseSize(std::string_view text);

// Writes a number of bytes for people: the largest unit that leaves at least 1,
// with one digit after the point unless it is 0. "10 GiB", "1.5 MiB", "17 B".
// Rounds down, so that a limit never seems larger than it is.
std::string FormatSize(uint64_t bytes);

// Writes a number of bytes exactly, as ParseSize reads it: the largest unit
// that divides it. "10G", "1536M", "4097".
std::string FormatExactSize(uint64_t bytes);

}  // namespace ramvol

#endif  // RAMVOL_BASE_SIZE_H_
