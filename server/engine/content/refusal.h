// Why a request was refused, as long as nobody has put it into words.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_REFUSAL_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_REFUSAL_H_

#include <cstdint>

namespace ramvol::engine {

enum class Cause : uint8_t {
  kNone,         // Not refused.
  kDeleted,      // The volume is gone.
  kPastEnd,      // The request ends past the volume.
  kShrunk,       // It did not when it began.
  kReadOnly,     // The volume takes no changes.
  kTooLong,      // More data than one request may carry.
  kVolumeLimit,  // The volume's own memory limit.
  kServerLimit,  // The server's.
  kCorrupt,      // A frame failed its check.
};

// What the parts of a volume return. They do not know the request that they
// work for; who does makes a status of it (volume/refusal_text.h).
struct [[nodiscard]] Refusal {
  Cause cause = Cause::kNone;
  uint64_t chunk = 0;  // Of kCorrupt: where the frame is.

  bool ok() const { return cause == Cause::kNone; }
  // For work that nobody waits for: what cannot be done is left as it is.
  void Ignore() const {}
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_REFUSAL_H_
