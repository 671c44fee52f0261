// Types that the parts of the arena share.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_MEMORY_TYPES_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_MEMORY_TYPES_H_

#include <cstddef>
#include <cstdint>

namespace ramvol::engine {

// The number of a page. 0 is no page.
using PageId = uint32_t;

inline constexpr size_t kPageBytes = 4096;
// The largest object that the arena allocates.
inline constexpr size_t kMaxObjectBytes = 4352;

// How much of the limit an allocation may use. The reserve is kept free for
// work that frees memory (memory_account.h).
enum class Priority {
  // Nothing of the reserve. For what clients store.
  kNormal,
  // Half of the reserve. For merging, which saves memory in the end but first
  // leaves free space in slabs.
  kMerge,
  // All of the reserve. For work that frees more than it takes.
  kReclaim,
  // Never fails: beyond the reserve, it exceeds the limit. For metadata of
  // admitted writes, and for trims, which take a few pages for a moment.
  kGuaranteed,
};

// Which slabs to empty by moving their objects to other slabs.
enum class Evacuation {
  kLight,  // Only sparse ones, which are worth the copying.
  kTight,  // As many as others have room for: memory is short.
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_MEMORY_TYPES_H_
