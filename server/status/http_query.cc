#include "server/status/http_query.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace ramvol::status {
namespace {

std::string Decode(absl::string_view text) {
  std::string out;
  while (!text.empty()) {
    uint32_t byte = 0;
    const bool encoded =
        text[0] == '%' && text.size() >= 3 &&
        absl::ascii_isxdigit(static_cast<unsigned char>(text[1])) &&
        absl::ascii_isxdigit(static_cast<unsigned char>(text[2])) &&
        absl::SimpleHexAtoi(text.substr(1, 2), &byte);
    if (encoded) {
      out += static_cast<char>(byte);
    } else {
      out += text[0] == '+' ? ' ' : text[0];
    }
    text.remove_prefix(encoded ? 3 : 1);
  }
  return out;
}

}  // namespace

std::map<std::string, std::string, std::less<>> ParseHttpQuery(
    std::string_view query) {
  std::map<std::string, std::string, std::less<>> parsed;
  const absl::string_view text(query.data(), query.size());
  for (const absl::string_view part :
       absl::StrSplit(text, '&', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    parsed[Decode(pair.first)] = Decode(pair.second);
  }
  return parsed;
}

absl::StatusOr<uint64_t> NumberOf(
    const std::map<std::string, std::string, std::less<>>& query,
    std::string_view name, uint64_t otherwise, uint64_t most) {
  const auto found = query.find(name);
  if (found == query.end()) return otherwise;
  uint64_t number = 0;
  if (absl::SimpleAtoi(found->second, &number) && number <= most) return number;
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(name), " is \"", found->second,
                   "\"; give a number from 0 to ", most));
}

}  // namespace ramvol::status
