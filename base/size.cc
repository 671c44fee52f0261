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

// Holds a size times 100, or a size times 10^18.
using Wide = unsigned __int128;

absl::string_view ToAbsl(std::string_view s) { return {s.data(), s.size()}; }

absl::Status Malformed(std::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", ToAbsl(text),
      "\" is not a size; write a number of bytes, or a number with "
      "a unit, such as 512M, 10G or 1.5T"));
}

absl::Status NotWhole(std::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", ToAbsl(text),
      "\" is no whole number of bytes; add a unit, such as K, M or G"));
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

// The power of two that `unit` ("", "B", "K", "Ki", "KiB", ...) multiplies by,
// or -1.
int UnitShift(std::string_view unit) {
  std::string upper = absl::AsciiStrToUpper(ToAbsl(unit));
  if (upper.empty() || upper == "B") return 0;
  const size_t index = kUnits.find(upper[0]);
  const std::string_view rest = std::string_view(upper).substr(1);
  const bool known_rest =
      rest.empty() || rest == "I" || rest == "B" || rest == "IB";
  if (index == std::string_view::npos || !known_rest) return -1;
  return 10 * (static_cast<int>(index) + 1);
}

struct Unit {
  int index;  // In kUnits; -1 for bytes.
  uint64_t bytes;
};

// The largest of which there is at least one in `bytes`; bytes for 0.
Unit LargestUnit(uint64_t bytes) {
  Unit unit = {-1, 1};
  while (bytes / unit.bytes >= 1024) {
    unit.bytes *= 1024;
    ++unit.index;
  }
  return unit;
}

std::string WithUnit(const std::string& number, int index) {
  if (index < 0) return absl::StrCat(number, " B");
  return absl::StrCat(number, " ", std::string(1, kUnits[index]), "iB");
}

// To the nearest, with up to two digits after the point.
std::string Rounded(uint64_t bytes, Unit unit, int digits) {
  const unsigned parts = digits == 0 ? 1 : digits == 1 ? 10 : 100;
  auto number = static_cast<uint64_t>((Wide{bytes} * parts + unit.bytes / 2) /
                                      unit.bytes);
  if (number >= uint64_t{1024} * parts) {  // What is left is the next unit.
    number = parts;
    ++unit.index;
  }
  std::string text = absl::StrCat(number / parts);
  if (digits > 0) {
    absl::StrAppend(&text, ".",
                    absl::Dec(number % parts,
                              digits == 1 ? absl::kNoPad : absl::kZeroPad2));
  }
  return WithUnit(text, unit.index);
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
  if (shift == 0 && !fraction.empty()) return NotWhole(text);

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
  const Unit unit = LargestUnit(bytes);
  const uint64_t whole = bytes / unit.bytes;
  const uint64_t rest = bytes % unit.bytes;
  if (rest == 0) return WithUnit(absl::StrCat(whole), unit.index);
  // Rounded up, since ParseSize rounds down.
  const auto tenths =
      static_cast<uint64_t>((Wide{rest} * 10 + unit.bytes - 1) / unit.bytes);
  if (tenths < 10 && Wide{tenths} * unit.bytes / 10 == rest) {
    return WithUnit(absl::StrCat(whole, ".", tenths), unit.index);
  }
  return Rounded(bytes, unit, 2);
}

std::string FormatRoundedSize(uint64_t bytes) {
  const Unit unit = LargestUnit(bytes);
  if (bytes % unit.bytes == 0) {
    return WithUnit(absl::StrCat(bytes / unit.bytes), unit.index);
  }
  return Rounded(bytes, unit, bytes / unit.bytes >= 100 ? 0 : 1);
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
