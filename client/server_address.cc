#include "client/server_address.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace ramvol {

std::string WithDefaultPort(std::string_view address) {
  const absl::string_view text(address.data(), address.size());
  const bool in_brackets =
      absl::StartsWith(text, "[") && absl::EndsWith(text, "]");
  const auto colons = std::count(text.begin(), text.end(), ':');
  if (text.empty() || (colons == 1 && !absl::EndsWith(text, ":"))) {
    return std::string(text);  // HOST:PORT, or with a scheme: unix:PATH.
  }
  if (in_brackets || colons == 0) {
    return absl::StrCat(text, ":", kDefaultServerPort);
  }
  if (colons == 1) return absl::StrCat(text, kDefaultServerPort);
  const bool ipv6 = text.find_first_not_of("0123456789abcdefABCDEF:.") ==
                    absl::string_view::npos;
  return ipv6 ? absl::StrCat("[", text, "]:", kDefaultServerPort)
              : std::string(text);
}

}  // namespace ramvol
