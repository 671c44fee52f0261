// The messages of the transmission phase.
#ifndef RAMVOL_NBD_BRIDGE_PROTOCOL_TRANSMISSION_H_
#define RAMVOL_NBD_BRIDGE_PROTOCOL_TRANSMISSION_H_

#include <cstddef>
#include <cstdint>

#include "base/nbd_constants.h"

namespace ramvol::nbd {

// What was negotiated for headers. Extended takes precedence.
enum class Style : uint8_t {
  kSimple,      // 28-byte requests, simple replies only.
  kStructured,  // 28-byte requests, structured replies.
  kExtended,    // 32-byte requests and replies.
};

struct RequestHeader {
  uint16_t flags = 0;
  uint16_t command = 0;
  uint64_t cookie = 0;
  uint64_t offset = 0;
  uint64_t length = 0;  // Of the effect or, with a payload, of that.
};

constexpr size_t RequestBytes(Style style) {
  return style == Style::kExtended ? 32 : 28;
}
// `bytes` has RequestBytes(style). False when the magic number is wrong.
[[nodiscard]] bool DecodeRequest(Style style, const char* bytes,
                                 RequestHeader* header);

// Room for any header below.
inline constexpr size_t kMaxReplyHeaderBytes = 32;

// Each writes to `out` and returns what follows.

char* PutSimpleReply(char* out, uint64_t cookie, Error error);
// The header of a structured or extended reply's chunk; `payload` bytes follow.
char* PutChunk(char* out, Style style, const RequestHeader& request,
               uint16_t reply_flags, ReplyType type, uint64_t payload);

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_PROTOCOL_TRANSMISSION_H_
