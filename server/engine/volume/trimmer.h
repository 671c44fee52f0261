// Trims, writes of zeroes, and cutting off the end of a volume.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_TRIMMER_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_TRIMMER_H_

#include <cstddef>
#include <cstdint>

#include "server/engine/background/engine_parts.h"
#include "server/engine/content/refusal.h"
#include "server/engine/volume/piece_writer.h"

namespace ramvol::engine {

// Trimming whole chunks drops them. Parts of chunks at both ends are written as
// zeroes.
//
// Thread-safe. Borrows `pieces` and what `parts` refer to, which must outlive
// it.
class Trimmer {
 public:
  Trimmer(const VolumeParts& parts, PieceWriter& pieces)
      : parts_(parts), pieces_(pieces) {}

  enum class Leave {
    kHoles,
    kZeroes,  // Same-filled blocks, which stay allocated.
  };
  // Makes the range, which must lie within the volume, read as zero. kDeleted,
  // kShrunk, kCorrupt; with kZeroes also kVolumeLimit and kServerLimit. After a
  // refusal, a part of the range may be zero.
  Refusal Zero(uint64_t offset, uint64_t length, Leave leave);

  // Frees what lies from `end`, the volume's new size, to `old_end`. The size
  // must not change meanwhile.
  void CutOff(uint64_t end, uint64_t old_end);
  // The same, where it is not known whether anything lies there: mostly, there
  // is nothing to do.
  void CutOffRest(uint64_t end);

 private:
  // What all pieces of a range have in common.
  struct Terms {
    Leave leave = Leave::kHoles;
    // Whether the range must lie within the volume.
    bool check_end = true;
  };
  Refusal ZeroRange(uint64_t offset, uint64_t length, const Terms& terms);
  Refusal ZeroPiece(uint64_t chunk, size_t begin, size_t end,
                    const Terms& terms);

  const VolumeParts parts_;
  PieceWriter& pieces_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_TRIMMER_H_
