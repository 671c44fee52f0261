// Background work on the leaves of one volume.
#ifndef RAMVOL_SERVER_ENGINE_BACKGROUND_LEAF_WORK_H_
#define RAMVOL_SERVER_ENGINE_BACKGROUND_LEAF_WORK_H_

#include <cstdint>
#include <optional>

#include "server/engine/background/engine_parts.h"
#include "server/engine/content/content.h"
#include "server/engine/memory/slab_tenant.h"

namespace ramvol::engine {

// Finds the chunks of a leaf that are worth merging or moving, and has the
// ChunkWorker do that. Also charges leaves to the volume that nobody else
// refers to any more. See ChunkOwner and SlabTenant, whose calls these are.
//
// Thread-safe and stateless.
class LeafWork {
 public:
  LeafWork(const EngineParts& parts, Content& content)
      : parts_(parts), content_(content) {}

  std::optional<uint64_t> MergeLeaf(uint64_t chunk, bool all_cold,
                                    uint32_t walk) const;
  std::optional<TenantPart> FindPart(uint64_t chunk) const;
  // Also rewrites frames that are mostly dead.
  void MovePart(uint64_t first_chunk) const;

 private:
  const EngineParts parts_;
  Content& content_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_BACKGROUND_LEAF_WORK_H_
