#include "base/size.h"

#include <cstddef>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace ramvol {
namespace {

constexpr std::string_view kUnits = "KMGTPE";
constexpr uint64_t kMaxSize = std::numeric_limits<int64_t>::max();
// Further digits of a fraction cannot matter: 10^-18 E is about a byte.
constexpr size_t kMaxFractionDigits = 18;

absl::string_view ToAbsl(std::string_view s) { return {s.data(), s.size()}; }

absl::Status Malformed(std::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", ToAbsl(text),
      "\" is not a size; write a number of bytes, or a number with "
      "a unit, such as 512M, 10G or 1.5T"));
}

absl::Status TooLarge(std::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", ToAbsl(text), "\" is past the largest size, ",
                   kMaxSize, " bytes (8E - 1)"));
}

// Cuts the digits off the front of `text`.
std::string_view TakeDigits(std::string_view* text) {
  size_t n = 0;
  while (n < text->size() && absl::ascii_isdigit((*text)[n])) ++n;
  const std::string_view digits = text->substr(0, n);
  text->remove_prefix(n);
  return digits;
}

// The power of two that `unit` ("", "B", "K", "KB", "KiB", ...) multiplies by,
// or -1.
int UnitShift(std::string_view unit) {
  std::string upper = absl::AsciiStrToUpper(ToAbsl(unit));
  if (upper.empty() || upper == "B") return 0;
  const size_t index = kUnits.find(upper[0]);
  const std::string_view rest = std::string_view(upper).substr(1);
  const bool known_rest = rest.empty() || rest == "B" || rest == "IB";
  if (index == std::string_view::npos || !known_rest) return -1;
  return 10 * (static_cast<int>(index) + 1);
}

}  // namespace

absl::StatusOr<uint64_t> ParseSize(std::string_view text) {
  std::string_view rest = text;
  const std::string_view whole = TakeDigits(&rest);
  std::string_view fraction;
  if (!rest.empty() && rest[0] == '.') {
    rest.remove_prefix(1);
    fraction = TakeDigits(&rest);
    if (fraction.empty()) return Malformed(text);
  }
  if (whole.empty()) return Malformed(text);
  if (!rest.empty() && rest[0] == ' ') rest.remove_prefix(1);
  const int shift = UnitShift(rest);
  if (shift < 0) return Malformed(text);

  using Wide = unsigned __int128;
  Wide value = 0;
  for (const char digit : whole) {
    value = value * 10 + static_cast<unsigned>(digit - '0');
    if (value > kMaxSize) return TooLarge(text);
  }
  Wide numerator = 0;
  Wide denominator = 1;
  for (const char digit : fraction.substr(0, kMaxFractionDigits)) {
    numerator = numerator * 10 + static_cast<unsigned>(digit - '0');
    denominator *= 10;
  }
  // Below 2^63 * 2^60 and 10^18 * 2^60: both fit.
  const Wide bytes = (value << shift) + (numerator << shift) / denominator;
  if (bytes > kMaxSize) return TooLarge(text);
  return static_cast<uint64_t>(bytes);
}

std::string FormatSize(uint64_t bytes) {
  int unit = -1;
  uint64_t scale = 1;
  while (bytes / scale >= 1024) {
    scale *= 1024;
    ++unit;
  }
  if (unit < 0) return absl::StrCat(bytes, " B");
  // The remainder is below 2^60, so ten times it fits.
  const uint64_t tenths = bytes % scale * 10 / scale;
  std::string number = absl::StrCat(bytes / scale);
  if (tenths != 0) absl::StrAppend(&number, ".", tenths);
  return absl::StrCat(number, " ", std::string(1, kUnits[unit]), "iB");
}

std::string FormatExactSize(uint64_t bytes) {
  int unit = -1;
  while (bytes != 0 && bytes % 1024 == 0 &&
         unit + 1 < static_cast<int>(kUnits.size())) {
    bytes /= 1024;
    ++unit;
  }
  return unit < 0 ? absl::StrCat(bytes)
                  : absl::StrCat(bytes, std::string(1, kUnits[unit]));
}

}  // namespace ramvol
