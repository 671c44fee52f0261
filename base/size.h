// Sizes as people write them: 4096, 512M, 1.5G.
#ifndef RAMVOL_BASE_SIZE_H_
#define RAMVOL_BASE_SIZE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace ramvol {

// Parses a number of bytes: decimal digits, an optional fraction, and an
// optional unit K, M, G, T, P or E (powers of 1024, either case), with an
// optional "B" or "iB": "10G", "1.5GiB", "512 mb", "4096". "B" alone means
// bytes. A fraction of a byte is cut off.
//
// INVALID_ARGUMENT says what is wrong with `text`. Sizes past 2^63 - 1 are
// refused, because the interfaces cannot carry them.
absl::StatusOr<uint64_t> ParseSize(std::string_view text);

// Formats a number of bytes for people, in the largest unit that leaves at
// least 1, with one decimal unless it is 0. "10 GiB", "1.5 MiB", "17 B". Rounds
// down, so that a limit never seems larger than it is.
std::string FormatSize(uint64_t bytes);

// Formats a number of bytes exactly, for ParseSize, in the largest unit that
// divides it. "10G", "1536M", "4097".
std::string FormatExactSize(uint64_t bytes);

}  // namespace ramvol

#endif  // RAMVOL_BASE_SIZE_H_
