// Bearer tokens: random secrets, of which servers keep the SHA-256 alone.
#ifndef RAMVOL_BASE_TOKEN_H_
#define RAMVOL_BASE_TOKEN_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace ramvol {

inline constexpr size_t kTokenDigestBytes = 32;
using TokenDigest = std::array<uint8_t, kTokenDigestBytes>;

// Longer ones are no tokens.
inline constexpr size_t kMaxTokenBytes = 4096;

// A new one of 256 random bits: "rv_" and 43 letters, digits, "-" or "_".
// UNAVAILABLE when the system has no random bytes.
absl::StatusOr<std::string> NewToken();

TokenDigest DigestOf(std::string_view token);
// Takes the same time whatever they hold.
bool SameDigest(const TokenDigest& a, const TokenDigest& b);

std::string HexOf(const TokenDigest& digest);
// Of 64 hexadecimal digits; nullopt for anything else.
std::optional<TokenDigest> ParseDigest(std::string_view hex);

// Letters, digits and -._, 1 to 63 of them.
bool IsTokenName(std::string_view name);

// The token in a file that holds nothing else but white space. INVALID_ARGUMENT
// or FileError names the file.
absl::StatusOr<std::string> ReadTokenFile(const std::string& path);

}  // namespace ramvol

#endif  // RAMVOL_BASE_TOKEN_H_
