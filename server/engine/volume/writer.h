// Writes of a volume.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_WRITER_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_WRITER_H_

#include <cstdint>
#include <memory>

#include "absl/types/span.h"
#include "server/engine/background/engine_parts.h"
#include "server/engine/content/refusal.h"
#include "server/engine/types/volume_types.h"
#include "server/engine/volume/piece_write.h"
#include "server/engine/volume/piece_writer.h"

namespace ramvol::engine {

// Divides a write into pieces, prepares all of them, then commits all.
// Background threads help to prepare a long write.
//
// Thread-safe. Borrows `pieces` and what `parts` refer to, which must outlive
// it.
class Writer {
 public:
  Writer(const VolumeParts& parts, PieceWriter& pieces)
      : parts_(parts), pieces_(pieces) {}

  // Stores `data` at `offset`. The range must lie within the volume.
  // kVolumeLimit or kServerLimit, without any change; kCorrupt when an
  // unaligned end needs a damaged frame; kDeleted, kShrunk.
  Refusal Write(uint64_t offset, absl::Span<const char> data,
                BufferOf whose = BufferOf::kCaller);

 private:
  // Prepares all of `pieces`. Returns the first refusal.
  Refusal PrepareAll(absl::Span<const std::unique_ptr<PieceWrite>> pieces);

  const VolumeParts parts_;
  PieceWriter& pieces_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_WRITER_H_
