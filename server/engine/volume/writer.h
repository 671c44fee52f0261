// What writes of a volume do.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_WRITER_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_WRITER_H_

#include <cstdint>
#include <memory>

#include "absl/types/span.h"
#include "server/engine/background/engine_parts.h"
#include "server/engine/content/refusal.h"
#include "server/engine/volume/piece_write.h"
#include "server/engine/volume/piece_writer.h"

namespace ramvol::engine {

// Cuts a write into pieces, prepares all of them, and then commits all. Of a
// long write, background threads prepare some.
//
// Thread-safe. Borrows what `parts` name and `pieces`, which must outlive it.
class Writer {
 public:
  Writer(const VolumeParts& parts, PieceWriter& pieces)
      : parts_(parts), pieces_(pieces) {}

  // Stores `data` at `offset`, within the volume. kVolumeLimit or kServerLimit,
  // and nothing has changed then; kCorrupt when a frame that has to be read for
  // an unaligned end is damaged; kDeleted, kShrunk.
  Refusal Write(uint64_t offset, absl::Span<const char> data);

 private:
  // Returns the first refusal, when there is any.
  Refusal PrepareAll(absl::Span<const std::unique_ptr<PieceWrite>> pieces);

  const VolumeParts parts_;
  PieceWriter& pieces_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_WRITER_H_
