#include "client/attach/qemu_words.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace ramvol {
namespace {

constexpr size_t kMaxNodeName = 31;  // QEMU's limit.
constexpr char kNodePrefix[] = "ramvol-";

// FNV-1a. Tells apart long names that begin alike.
uint32_t Hash(std::string_view text) {
  uint32_t hash = 2166136261U;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  }
  return hash;
}

}  // namespace

std::string QemuValue(const std::string& value) {
  return absl::StrReplaceAll(value, {{",", ",,"}});
}

std::string ShellQuote(const std::string& word) {
  constexpr std::string_view kPlain = "-_./:=,@%+";
  for (const char c : word) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) &&
        kPlain.find(c) == std::string_view::npos) {
      return absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}),
                          "'");
    }
  }
  return word;
}

std::string QemuNodeName(const std::string& volume) {
  const std::string name = absl::StrCat(kNodePrefix, volume);
  if (name.size() <= kMaxNodeName) return name;
  const std::string hash = absl::StrFormat("-%08x", Hash(volume));
  return name.substr(0, kMaxNodeName - hash.size()) + hash;
}

}  // namespace ramvol
