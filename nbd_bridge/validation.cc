#include "nbd_bridge/validation.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nbd_bridge/error.h"

namespace ramvol::nbd {
namespace {

bool IsKnown(uint16_t command) {
  return command <= static_cast<uint16_t>(Command::kBlockStatus);
}

// Commands whose data is held in memory.
bool CarriesData(Command command) {
  return command == Command::kRead || command == Command::kWrite ||
         command == Command::kCache;
}

uint16_t AllowedFlags(const SessionTraits& traits, Command command) {
  // FUA is valid for every command once NBD_FLAG_SEND_FUA was sent.
  switch (command) {
    case Command::kRead:
      return kCmdFua | (traits.style == Style::kSimple ? 0 : kCmdDf);
    case Command::kWrite:
      return kCmdFua | (traits.style == Style::kExtended ? kCmdPayloadLen : 0);
    case Command::kWriteZeroes:
      return kCmdFua | kCmdNoHole | kCmdFastZero;
    case Command::kBlockStatus:
      return kCmdFua | kCmdReqOne;
    default:
      return kCmdFua;
  }
}

template <typename... Parts>
Refusal Because(Error error, const Parts&... parts) {
  return {error, absl::StrCat(parts...)};
}

const char* NameOf(const RequestHeader& header) {
  return kCommandNames[static_cast<size_t>(KindOf(header.command))];
}

Refusal CheckRange(const SessionTraits& traits, const RequestHeader& header) {
  const auto command = static_cast<Command>(header.command);
  if (header.length == 0) {
    return Because(Error::kInval, NameOf(header), " of no bytes");
  }
  if (CarriesData(command) && header.length > kMaxPayloadBytes) {
    return Because(Error::kInval, NameOf(header), " of ", header.length,
                   " bytes; at most ", kMaxPayloadBytes, " are allowed");
  }
  if (IsInRange(traits, header)) return {};
  return Because(Stores(command) ? Error::kNoSpace : Error::kInval,
                 NameOf(header), " of ", header.length, " bytes at offset ",
                 header.offset, " ends past the volume's ", traits.size_bytes,
                 " bytes");
}

bool CoversWholeBlock(const RequestHeader& header) {
  // Up to the first block boundary in the range.
  const uint64_t skipped = -header.offset % kPreferredBlockBytes;
  return header.length >= skipped &&
         header.length - skipped >= kPreferredBlockBytes;
}

}  // namespace

bool HasPayload(const SessionTraits& traits, const RequestHeader& header) {
  return header.command == static_cast<uint16_t>(Command::kWrite) ||
         (traits.style == Style::kExtended &&
          (header.flags & kCmdPayloadLen) != 0);
}

bool IsInRange(const SessionTraits& traits, const RequestHeader& header) {
  return header.length <= traits.size_bytes &&
         header.offset <= traits.size_bytes - header.length;
}

Refusal Validate(const SessionTraits& traits, const RequestHeader& header) {
  const auto command = static_cast<Command>(header.command);
  if (!IsKnown(header.command)) {
    return Because(Error::kInval, "command ", header.command, " is unknown");
  }
  const uint16_t unknown = header.flags & ~AllowedFlags(traits, command);
  if (unknown != 0) {
    return {Error::kInval, absl::StrFormat("%s does not take the flags 0x%x",
                                           NameOf(header), unknown)};
  }
  if (traits.read_only && Changes(command)) {
    return Because(Error::kPerm, NameOf(header), " on a read-only export");
  }
  if (command == Command::kFlush) {
    // Reserved by the protocol: both must be 0.
    if (header.offset == 0 && header.length == 0) return {};
    return Because(Error::kInval, "flush of a range");
  }
  if (command == Command::kBlockStatus && traits.contexts == 0) {
    return Because(Error::kInval, "no metadata context was selected");
  }
  Refusal refusal = CheckRange(traits, header);
  if (refusal.error != Error::kNone) return refusal;
  if ((header.flags & kCmdFastZero) != 0 && !CoversWholeBlock(header)) {
    return Because(Error::kNotSupported,
                   "zeroing parts of blocks is not faster than writing them");
  }
  return {};
}

}  // namespace ramvol::nbd
