// The last bytes of an image of ramvol.
#ifndef RAMVOL_QCOW2_TRAILER_H_
#define RAMVOL_QCOW2_TRAILER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "qcow2/format.h"

namespace ramvol::qcow2 {

inline constexpr size_t kTrailerBytes = kSectorBytes;
inline constexpr std::string_view kTrailerMagic = "ramvol";

// What the digest is. An image with another one is one without.
inline constexpr char kDigestOfBytes = 2;

struct Trailer {
  bool has_digest = false;
  uint64_t digest = 0;  // ImageDigest.
  // The same of the header and the L1 table alone.
  bool has_front = false;
  uint64_t front = 0;
};

inline std::string EncodeTrailer(const Trailer& trailer) {
  std::string bytes(kTrailerMagic);
  bytes.resize(kTrailerBytes);
  bytes[8] = trailer.has_digest ? kDigestOfBytes : 0;
  bytes[9] = trailer.has_front ? 1 : 0;
  StoreBig64(trailer.digest, &bytes[16]);
  StoreBig64(trailer.front, &bytes[24]);
  return bytes;
}

// nullopt when it is none.
inline std::optional<Trailer> ParseTrailer(std::string_view bytes) {
  if (bytes.size() != kTrailerBytes ||
      bytes.substr(0, kTrailerMagic.size()) != kTrailerMagic) {
    return std::nullopt;
  }
  return Trailer{.has_digest = bytes[8] == kDigestOfBytes,
                 .digest = LoadBig64(bytes.data() + 16),
                 .has_front = bytes[9] != 0,
                 .front = LoadBig64(bytes.data() + 24)};
}

}  // namespace ramvol::qcow2

#endif  // RAMVOL_QCOW2_TRAILER_H_
