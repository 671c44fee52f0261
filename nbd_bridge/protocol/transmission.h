// The messages of the transmission phase.
#ifndef RAMVOL_NBD_BRIDGE_PROTOCOL_TRANSMISSION_H_
#define RAMVOL_NBD_BRIDGE_PROTOCOL_TRANSMISSION_H_

#include <cstddef>
#include <cstdint>

#include "base/nbd_constants.h"

namespace ramvol::nbd {

// The negotiated kind of headers. Extended takes precedence.
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
  // Of the payload if there is one, else of the affected range.
  uint64_t length = 0;
};

constexpr size_t RequestBytes(Style style) {
  return style == Style::kExtended ? 32 : 28;
}
// `bytes` has RequestBytes(style). False when the magic number is wrong.
[[nodiscard]] bool DecodeRequest(Style style, const char* bytes,
                                 RequestHeader* header);

// The size of the largest header below.
inline constexpr size_t kMaxReplyHeaderBytes = 32;

// These write to `out` and return the end of what they wrote.

char* PutSimpleReply(char* out, uint64_t cookie, Error error);
// The header of a structured or extended reply's chunk; `payload` bytes follow.
char* PutChunk(char* out, Style style, const RequestHeader& request,
               uint16_t reply_flags, ReplyType type, uint64_t payload);

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_PROTOCOL_TRANSMISSION_H_
