#include "base/token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/random.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/check.h"
#include "base/file_error.h"

namespace ramvol {
namespace {

constexpr size_t kRandomBytes = 32;
constexpr size_t kMaxNameBytes = 63;

}  // namespace

absl::StatusOr<std::string> NewToken() {
  std::array<char, kRandomBytes> random{};
  if (getrandom(random.data(), random.size(), 0) !=
      static_cast<ssize_t>(random.size())) {
    return absl::UnavailableError("the system has no random bytes to give");
  }
  return absl::StrCat("rv_", absl::WebSafeBase64Escape(absl::string_view(
                                 random.data(), random.size())));
}

TokenDigest DigestOf(std::string_view token) {
  // Found once: OpenSSL 3 takes longer to find it than to use it.
  static const EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  thread_local const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>
      context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  TokenDigest digest{};
  const bool made =
      EVP_DigestInit_ex(context.get(), sha256, nullptr) == 1 &&
      EVP_DigestUpdate(context.get(), token.data(), token.size()) == 1 &&
      EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1;
  RAMVOL_CHECK(made);  // A digest of zeroes would be everyone's.
  return digest;
}

bool SameDigest(const TokenDigest& a, const TokenDigest& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string HexOf(const TokenDigest& digest) {
  return absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(digest.data()), digest.size()));
}

std::optional<TokenDigest> ParseDigest(std::string_view hex) {
  if (hex.size() != 2 * kTokenDigestBytes ||
      !std::all_of(hex.begin(), hex.end(), absl::ascii_isxdigit)) {
    return std::nullopt;
  }
  const std::string bytes =
      absl::HexStringToBytes(absl::string_view(hex.data(), hex.size()));
  TokenDigest digest{};
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

bool IsTokenName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                  c == '-' || c == '.' || c == '_';
         });
}

absl::StatusOr<std::string> ReadTokenFile(const std::string& path) {
  // "e": close-on-exec.
  std::FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) {
    return FileError(errno, absl::StrCat("cannot read the token of ", path));
  }
  std::string text(kMaxTokenBytes + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file));
  const bool failed = std::ferror(file) != 0;
  const int error = errno;
  std::fclose(file);
  if (failed) {
    return FileError(error, absl::StrCat("cannot read the token of ", path));
  }
  const std::string token(absl::StripAsciiWhitespace(text));
  const bool valid =
      !token.empty() && text.size() <= kMaxTokenBytes &&
      std::all_of(token.begin(), token.end(), absl::ascii_isgraph);
  if (valid) return token;
  return absl::InvalidArgumentError(
      absl::StrCat(path, " holds no token: one line of at most ",
                   kMaxTokenBytes, " printable characters without spaces"));
}

}  // namespace ramvol
