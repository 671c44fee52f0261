#include "server/access/token_file.h"

#include <cstring>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace ramvol::access {
namespace {

uint64_t FirstBytes(const TokenDigest& digest) {
  uint64_t first = 0;
  std::memcpy(&first, digest.data(), sizeof(first));
  return first;
}

absl::Status At(const std::string& path, size_t line, size_t column,
                absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ":", line, ":", column, ": ", what,
                   "; \"ramvol auth new-token NAME\" makes such lines"));
}

}  // namespace

absl::StatusOr<TokenFile> TokenFile::Parse(const std::string& path,
                                           std::string_view text) {
  TokenFile file;
  size_t number = 0;
  for (absl::string_view line :
       absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line[0] == '#') continue;
    // What is wrong is not shown: it may be a token.
    const std::vector<absl::string_view> parts = absl::StrSplit(line, ':');
    const std::string name(parts[0]);
    if (!IsTokenName(name)) {
      return At(path, number, 1,
                "the name is not of 1 to 63 letters, digits and -._");
    }
    if (parts.size() != 3 || parts[1] != "sha256") {
      return At(path, number, name.size() + 2,
                "the line is not of the form NAME:sha256:HEX");
    }
    const auto digest =
        ParseDigest(std::string_view(parts[2].data(), parts[2].size()));
    if (!digest.has_value()) {
      return At(path, number, name.size() + sizeof("sha256:") + 1,
                "the hash does not have 64 hexadecimal digits");
    }
    if (++file.size_ > kMaxTokens) {
      return At(path, number, 1,
                absl::StrCat("there are more than ", kMaxTokens, " tokens"));
    }
    file.tokens_[FirstBytes(*digest)].emplace_back(*digest, name);
  }
  return file;
}

const std::string* TokenFile::Find(const TokenDigest& digest) const {
  const auto found = tokens_.find(FirstBytes(digest));
  if (found == tokens_.end()) return nullptr;
  for (const auto& [known, name] : found->second) {
    if (SameDigest(known, digest)) return &name;
  }
  return nullptr;
}

}  // namespace ramvol::access
