#include "csi/volume_handle.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/token.h"

namespace ramvol::csi_driver {
namespace {

constexpr std::string_view kDigestPrefix = "csi-";
constexpr size_t kDigestDigits = 32;
constexpr size_t kMaxNameBytes = 63;

bool IsEnd(char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c); }

bool IsName(std::string_view text) {
  if (text.empty() || text.size() > kMaxNameBytes) return false;
  if (!IsEnd(text.front()) || !IsEnd(text.back())) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return IsEnd(c) || c == '.' || c == '_' || c == '-';
  });
}

bool LooksLikeDigest(std::string_view text) {
  return text.size() == kDigestPrefix.size() + kDigestDigits &&
         absl::StartsWith({text.data(), text.size()},
                          {kDigestPrefix.data(), kDigestPrefix.size()});
}

}  // namespace

std::string NameOfHandle(std::string_view handle) {
  if (IsName(handle) && !LooksLikeDigest(handle)) return std::string(handle);
  return absl::StrCat(std::string(kDigestPrefix),
                      HexOf(DigestOf(handle)).substr(0, kDigestDigits));
}

bool MayBeInline(std::string_view handle) {
  constexpr std::string_view kPrefix = "csi-";
  return handle.substr(0, kPrefix.size()) == kPrefix;
}

std::string HandleOfMember(std::string_view group, std::string_view volume) {
  // The length tells where the one ends and the other begins.
  const std::string both =
      absl::StrCat(group.size(), ":", std::string(group), std::string(volume));
  return absl::StrCat("csi-group-",
                      HexOf(DigestOf(both)).substr(0, kDigestDigits));
}

absl::Status CheckHandle(std::string_view what, std::string_view handle) {
  const std::string name(what);
  if (handle.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is missing"));
  }
  if (handle.size() > kMaxHandleBytes) {
    return absl::InvalidArgumentError(absl::StrCat(name, " has ", handle.size(),
                                                   " bytes; give at most ",
                                                   kMaxHandleBytes));
  }
  if (!std::all_of(handle.begin(), handle.end(), [](char c) {
        return absl::ascii_isprint(static_cast<unsigned char>(c));
      })) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " holds bytes that are no printable ASCII"));
  }
  return absl::OkStatus();
}

}  // namespace ramvol::csi_driver
