// The file of `ramvold --token_file=PATH`.
#ifndef RAMVOL_SERVER_ACCESS_TOKEN_FILE_H_
#define RAMVOL_SERVER_ACCESS_TOKEN_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/token.h"

namespace ramvol::access {

// The tokens that are known, by name. A line of the file is
//
//   NAME:sha256:HEX
//
// or empty, or a comment that begins with "#". Several lines may have one name,
// so that a token can be replaced without a gap. Constant, so thread-safe.
class TokenFile {
 public:
  static constexpr size_t kMaxTokens = 10'000;

  // INVALID_ARGUMENT begins with "PATH:LINE:COLUMN: ".
  static absl::StatusOr<TokenFile> Parse(const std::string& path,
                                         std::string_view text);

  // The name of a token; nullptr when it is not known. Tells no more about the
  // digests in the file by the time that it takes than whether the first bytes
  // are equal, of a SHA-256, which whoever guesses cannot choose.
  const std::string* Find(const TokenDigest& digest) const;
  size_t size() const { return size_; }

 private:
  using Known = std::pair<TokenDigest, std::string>;

  // By the first bytes of the digest.
  absl::flat_hash_map<uint64_t, std::vector<Known>> tokens_;
  size_t size_ = 0;
};

}  // namespace ramvol::access

#endif  // RAMVOL_SERVER_ACCESS_TOKEN_FILE_H_
