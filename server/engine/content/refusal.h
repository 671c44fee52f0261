// Why a request was refused, before it becomes a status.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_REFUSAL_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_REFUSAL_H_

#include <cstdint>

namespace ramvol::engine {

enum class Cause : uint8_t {
  kNone,         // Not refused.
  kDeleted,      // The volume is gone.
  kPastEnd,      // The request ends past the volume.
  kShrunk,       // The same, but only since the request began.
  kReadOnly,     // The volume is read-only.
  kSnapshot,     // It is a snapshot.
  kTooLong,      // More data than one request may carry.
  kVolumeLimit,  // At the volume's own memory limit.
  kServerLimit,  // At the server's memory limit.
  kCorrupt,      // A frame failed its check.
  kUnread,       // It cannot be read in from where it is outside.
  kDamaged,      // The whole volume was found damaged.
};

// What the parts of a volume return. They do not know the request as its caller
// made it. VolumeCore does, and makes a status of this (volume/refusal_text.h).
struct [[nodiscard]] Refusal {
  Cause cause = Cause::kNone;
  uint64_t chunk = 0;  // For kCorrupt and kUnread: the chunk of the frame.

  bool ok() const { return cause == Cause::kNone; }
  // For background work, which leaves what cannot be done as it is.
  void Ignore() const {}
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_REFUSAL_H_
