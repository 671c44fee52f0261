#include "server/service/page_token.h"

#include <cstdint>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/reason.h"

namespace ramvol::service {
namespace {

constexpr size_t kCheckDigits = 8;

// FNV-1a. Detects text that is not a token. Not meant to be secure.
std::string Check(absl::string_view name) {
  uint32_t hash = 2166136261U;
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  }
  return absl::StrCat(absl::Hex(hash, absl::kZeroPad8));
}

}  // namespace

std::string MakePageToken(std::string_view last) {
  const absl::string_view name(last.data(), last.size());
  return absl::WebSafeBase64Escape(absl::StrCat(Check(name), name));
}

absl::StatusOr<std::string> ParsePageToken(const std::string& token) {
  if (token.empty()) return std::string();
  std::string text;
  if (absl::WebSafeBase64Unescape(token, &text) && text.size() > kCheckDigits) {
    std::string name = text.substr(kCheckDigits);
    if (text.substr(0, kCheckDigits) == Check(name)) return name;
  }
  return InvalidField("page_token",
                      absl::StrCat("page_token \"", token,
                                   "\" was not given by this call; take "
                                   "next_page_token, or none for the first "
                                   "page"));
}

}  // namespace ramvol::service
