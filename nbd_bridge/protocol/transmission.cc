#include "nbd_bridge/protocol/transmission.h"

#include "nbd_bridge/protocol/wire.h"

namespace ramvol::nbd {

bool DecodeRequest(Style style, const char* bytes, RequestHeader* header) {
  header->flags = Get<uint16_t>(bytes + 4);
  header->command = Get<uint16_t>(bytes + 6);
  header->cookie = Get<uint64_t>(bytes + 8);
  header->offset = Get<uint64_t>(bytes + 16);
  const uint32_t magic = Get<uint32_t>(bytes);
  if (style == Style::kExtended) {
    header->length = Get<uint64_t>(bytes + 24);
    return magic == kExtendedRequestMagic;
  }
  header->length = Get<uint32_t>(bytes + 24);
  return magic == kRequestMagic;
}

char* PutSimpleReply(char* out, uint64_t cookie, Error error) {
  out = Put(out, kSimpleReplyMagic);
  out = Put(out, static_cast<uint32_t>(error));
  return Put(out, cookie);
}

char* PutChunk(char* out, Style style, const RequestHeader& request,
               uint16_t reply_flags, ReplyType type, uint64_t payload) {
  const bool extended = style == Style::kExtended;
  out = Put(out, extended ? kExtendedReplyMagic : kStructuredReplyMagic);
  out = Put(out, reply_flags);
  out = Put(out, static_cast<uint16_t>(type));
  out = Put(out, request.cookie);
  if (!extended) return Put(out, static_cast<uint32_t>(payload));
  out = Put(out, request.offset);
  return Put(out, payload);
}

}  // namespace ramvol::nbd
