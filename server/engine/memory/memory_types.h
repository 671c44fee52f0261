// The words that the parts of the arena share.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_MEMORY_TYPES_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_MEMORY_TYPES_H_

#include <cstddef>
#include <cstdint>

namespace ramvol::engine {

// Names a page. 0 names none.
using PageId = uint32_t;

inline constexpr size_t kPageBytes = 4096;
// Largest object that the arena serves.
inline constexpr size_t kMaxObjectBytes = 4352;

// How much of the limit an allocation may use. The reserve is the room that is
// kept beforehand for work that gives memory back.
enum class Priority {
  // Leaves the reserve alone. For what clients store.
  kNormal,
  // May use half of the reserve. For merging, which saves memory in the end but
  // leaves holes in slabs first.
  kMerge,
  // May use all of the reserve. For what gives back more than it takes.
  kReclaim,
  // Never fails while the machine has memory: beyond the reserve it exceeds the
  // limit. For metadata of writes that were admitted, and for trims, which take
  // a few pages for a moment.
  kGuaranteed,
};

// Which slabs are emptied by moving their objects into others.
enum class Evacuation {
  kLight,  // Sparse ones, which give back more than the copying costs.
  kTight,  // As many as the others have room for: memory is short.
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_MEMORY_TYPES_H_
