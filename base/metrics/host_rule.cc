#include "base/metrics/host_rule.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/printable.h"

namespace ramvol::metrics {
namespace {

constexpr std::string_view kLocal = "localhost";
constexpr std::string_view kBelowLocal = ".localhost";
constexpr size_t kMaxNameBytes = 253;

bool IsDigits(std::string_view text) {
  return std::all_of(text.begin(), text.end(), &absl::ascii_isdigit);
}

bool EndsWith(std::string_view text, std::string_view end) {
  return text.size() >= end.size() &&
         text.substr(text.size() - end.size()) == end;
}

bool IsNameByte(char c) {
  return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
}

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name != "." &&
         name.find("..") == std::string_view::npos && name.back() != '.' &&
         std::all_of(name.begin(), name.end(), &IsNameByte);
}

// Takes the port off `host`. False if what stands there is none.
bool TakeOffPort(std::string_view* host) {
  const size_t colon = host->rfind(':');
  // That of an IPv6 address is inside of brackets.
  if (colon == std::string_view::npos || host->back() == ']') return true;
  if (!IsDigits(host->substr(colon + 1))) return false;
  host->remove_suffix(host->size() - colon);
  return true;
}

bool IsAddress(const std::string& host) {
  if (host.find('\0') != std::string::npos) return false;  // Ends c_str().
  in_addr four;
  in6_addr six;
  if (inet_pton(AF_INET, host.c_str(), &four) == 1) return true;
  return host.size() > 2 && host.front() == '[' && host.back() == ']' &&
         inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &six) ==
             1;
}

}  // namespace

absl::StatusOr<HostRule> HostRule::Parse(const std::string& names) {
  HostRule rule;
  if (names.empty()) return rule;
  const std::vector<std::string> split = absl::StrSplit(names, ',');
  if (split.size() > kMaxHosts) {
    return absl::InvalidArgumentError(absl::StrCat(
        "there are ", split.size(), " names; give at most ", kMaxHosts));
  }
  for (const std::string& name : split) {
    if (!IsName(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat(Quoted(name),
                       " is no host's name; give names without ports, such as "
                       "ramvol.example, or .example for all names below"));
    }
    rule.names_.push_back(absl::AsciiStrToLower(name));
  }
  return rule;
}

bool HostRule::Allows(std::string_view host) const {
  if (host.empty()) return true;
  if (!TakeOffPort(&host)) return false;
  // A name may be written with the root's dot.
  if (!host.empty() && host.back() == '.') host.remove_suffix(1);
  const std::string name = absl::AsciiStrToLower(std::string(host));
  if (name == kLocal || EndsWith(name, kBelowLocal) || IsAddress(name)) {
    return true;
  }
  return std::any_of(names_.begin(), names_.end(),
                     [&name](const std::string& allowed) {
                       return allowed.front() == '.' ? EndsWith(name, allowed)
                                                     : name == allowed;
                     });
}

}  // namespace ramvol::metrics
