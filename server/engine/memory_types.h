// The words that the parts of the arena share.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_TYPES_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_TYPES_H_

#include <cstddef>
#include <cstdint>

namespace ramvol::engine {

// Names a page. 0 names none.
using PageId = uint32_t;

inline constexpr size_t kPageBytes = 4096;
// Largest object that the arena serves.
inline constexpr size_t kMaxObjectBytes = 4352;

enum class Priority {
  // Fails when less than the reserve would be left under the limit.
  kNormal,
  // May use the reserve, and after that exceed the limit by what it asks for;
  // never fails while the machine has memory. For work that frees more than it
  // takes, and for metadata of writes that were admitted.
  kGuaranteed,
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_TYPES_H_
