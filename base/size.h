// Sizes as people write them: 4096, 512M, 1.5G.
#ifndef RAMVOL_BASE_SIZE_H_
#define RAMVOL_BASE_SIZE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace ramvol {

// Reads a number of bytes, as qemu-img and LVM do: decimal digits, perhaps with
// a fraction, then perhaps a unit K, M, G, T, P or E (powers of 1024), in
// either case, which "i", "iB" or "B" may follow: "10G", "10Gi", "1.5GiB", "512
// mb", "4096". "B" alone means bytes, of which there are no fractions. What a
// unit's fraction leaves of a byte is cut off: "1.1T" is 1209462790553.
//
// INVALID_ARGUMENT says what is wrong with `text`. Sizes past 2^63 - 1 are
// refused, because the interfaces cannot carry them.
absl::StatusOr<uint64_t> ParseSize(std::string_view text);

// Writes a number of bytes for people: in the largest unit that leaves at least
// 1, and exactly if that takes at most one digit after the point ("10 GiB",
// "1.5 MiB", "17 B"). Everything else has two digits and is rounded to the
// nearest: "10.00 GiB" is about that. No size is written as another exact one.
std::string FormatSize(uint64_t bytes);

// Writes a number of bytes for a glance, such as in a rate: three digits or
// four, rounded. "412 MiB", "41.2 MiB", "4 MiB".
std::string FormatRoundedSize(uint64_t bytes);

// Writes a number of bytes exactly, as ParseSize reads it: the largest unit
// that divides it. "10G", "1536M", "4097".
std::string FormatExactSize(uint64_t bytes);

}  // namespace ramvol

#endif  // RAMVOL_BASE_SIZE_H_
