// Types that the parts of the arena share.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_MEMORY_TYPES_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_MEMORY_TYPES_H_

#include <cstddef>
#include <cstdint>

namespace ramvol::engine {

// The number of a page. 0 is no page.
using PageId = uint32_t;
// The number of a unit, of which the arena's range consists. 0 is no unit.
using UnitId = uint32_t;

inline constexpr size_t kPageBytes = 4096;
inline constexpr size_t kUnitPages = 64;
inline constexpr size_t kUnitBytes = kUnitPages * kPageBytes;
// A PageId has 32 bits.
inline constexpr uint64_t kMaxUnits = (uint64_t{1} << 32) / kUnitPages;
// The largest object that the arena allocates.
inline constexpr size_t kMaxObjectBytes = 4352;
inline constexpr size_t kObjectAlignment = 16;

// How much address space an arena takes: three times the limit and 1 GiB.
// Address space is cheap. There must be enough that sparse units, or units of
// which only the start is resident, never use it up before the limit is
// reached.
constexpr uint64_t RangeBytes(uint64_t limit_bytes) {
  constexpr uint64_t kShare = 3;
  constexpr uint64_t kSpareBytes = uint64_t{1} << 30;
  constexpr uint64_t kMax = ~uint64_t{0} - kSpareBytes;
  return limit_bytes > kMax / kShare ? kMax
                                     : limit_bytes * kShare + kSpareBytes;
}

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

// What a claim found (Arena::ClaimObject, ClaimPage).
enum class Claim {
  kFirst,    // Nobody had claimed it yet.
  kAgain,    // It is shared with an earlier claim.
  kInvalid,  // There can be no such thing.
};

// Which slabs to empty by moving their objects to other slabs.
enum class Evacuation {
  kLight,  // Only sparse ones, which are worth the copying.
  kTight,  // As many as others have room for: memory is short.
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_MEMORY_TYPES_H_
