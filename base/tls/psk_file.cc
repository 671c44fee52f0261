#include "base/tls/psk_file.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace ramvol {
namespace {

bool IsHex(absl::string_view text) {
  return text.size() % 2 == 0 &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isxdigit(static_cast<unsigned char>(c));
         });
}

absl::Status BadLine(size_t line, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("line ", line, ": ", why, "; write USER:HEXKEY"));
}

absl::Status AddLine(size_t number, absl::string_view line, PskKeys* keys) {
  const std::vector<absl::string_view> parts =
      absl::StrSplit(line, absl::MaxSplits(':', 1));
  if (parts.size() != 2 || parts[0].empty()) {
    return BadLine(number, "there is no user");
  }
  if (!IsHex(parts[1])) return BadLine(number, "the key is not hexadecimal");
  std::string key = absl::HexStringToBytes(parts[1]);
  if (key.size() < kMinPskBytes || key.size() > kMaxPskBytes) {
    return BadLine(number,
                   absl::StrCat("the key has ", key.size(), " bytes, not ",
                                kMinPskBytes, " to ", kMaxPskBytes));
  }
  if (!keys->try_emplace(std::string(parts[0]), std::move(key)).second) {
    return BadLine(number, "the user was there already");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PskKeys> ParsePskKeys(std::string_view text) {
  PskKeys keys;
  size_t number = 0;
  for (absl::string_view line :
       absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line[0] == '#') continue;
    const absl::Status added = AddLine(number, line, &keys);
    if (!added.ok()) return added;
  }
  if (keys.empty()) return absl::InvalidArgumentError("it has no keys");
  return keys;
}

}  // namespace ramvol
