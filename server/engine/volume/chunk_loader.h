// Reads in what a volume has outside.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_CHUNK_LOADER_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_CHUNK_LOADER_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/types/span.h"
#include "server/engine/background/engine_parts.h"
#include "server/engine/background/reclaimer.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/refusal.h"
#include "server/engine/types/encoded_chunk.h"
#include "server/engine/types/outside_source.h"
#include "server/engine/volume/encoded_writer.h"
#include "server/engine/volume/outside.h"

namespace ramvol::engine {

// A chunk that is outside is one frame without content. Reading it in replaces
// that frame, wherever the chunk's map is: for all who share it.
//
// Thread-safe. No lock is held while a file is read. Borrows `writer`,
// `reclaimer` and what `parts` refer to, which must outlive it.
class ChunkLoader final : public OutsideReader {
 public:
  ChunkLoader(const VolumeParts& parts, EncodedWriter& writer,
              Reclaimer& reclaimer)
      : parts_(parts), writer_(writer), reclaimer_(reclaimer) {}

  // Whether any chunk may be outside.
  bool active() const {
    const Outside* outside = parts_.engine.outside;
    return outside != nullptr && outside->active();
  }

  // Makes the content of `chunks` that of `image`, which is outside. Refuses
  // for lack of memory; some of them may have changed then.
  Refusal Add(uint32_t image, absl::Span<const OutsideChunk> chunks);

  Refusal Load(uint64_t chunk) override;
  // The same for the chunks at the ends of a range that it does not cover as a
  // whole, without a refusal: so a change of a part of a chunk that others
  // share leaves them the rest.
  void LoadEnds(uint64_t offset, uint64_t length) {
    if (active()) LoadPartial(offset, length);
  }
  // The same with content that was read already: of the chunks, those that are
  // outside in `image`. Background threads help.
  void Put(uint32_t image, absl::Span<EncodedChunk> chunks);
  // Reads in all of the first leaf that covers `chunk` or a later one. Counts
  // what was outside, and what of it still is. Returns where to go on; nullopt
  // at the end.
  struct Counts {
    uint64_t found = 0;
    uint64_t failed = 0;
  };
  std::optional<uint64_t> LoadLeaf(uint64_t chunk, Counts* counts);
  // Whether any chunk is outside. Costs a walk over the leaves.
  bool AnyOutside() const;

 private:
  // Takes a reference to the frame of the chunk that is outside; nullptr when
  // there is none.
  Refusal Find(uint64_t chunk, ChunkRefs* refs, const Frame** frame) const;
  // The image that the chunk is of, if it is outside.
  std::optional<uint32_t> ImageOf(uint64_t chunk) const;
  // Reads in the chunk, and shares what `below`, which may be nullptr, has of
  // it. That was read in.
  Refusal LoadOnto(ChunkLoader* below, uint64_t chunk);
  void LoadPartial(uint64_t offset, uint64_t length);
  Refusal Replace(const Frame& frame, ChunkLoader* below,
                  EncodedChunk* content);
  void PutOne(uint32_t image, EncodedChunk* content);
  // Reads in what lies below the chunk of `image`, the lowest first. Returns
  // what it lies on, or nullptr when there is nothing to be shared.
  std::shared_ptr<ChunkLoader> LoadBelow(uint32_t image, uint64_t chunk) const;

  const VolumeParts parts_;
  EncodedWriter& writer_;
  Reclaimer& reclaimer_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_CHUNK_LOADER_H_
