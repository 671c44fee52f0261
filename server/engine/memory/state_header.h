// The start of a memory file, by which a later process knows it.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_STATE_HEADER_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_STATE_HEADER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "server/engine/memory/memory_types.h"

namespace ramvol::engine {

// A memory file is the arena's range, unit by unit. The first units are never
// allocated:
//
//   unit 0         a page with the header; the rest is the root area, from
//                  which the arena's user finds everything
//   units 1 - 256  a byte for each unit: 1 + its owner (Unit::owner), as of
//                  when it was last taken; 0 if it never was
//
// Pages that nobody uses are holes.
inline constexpr size_t kRootAreaBytes = kUnitBytes - kPageBytes;
inline constexpr UnitId kFirstOwnerUnit = 1;
inline constexpr UnitId kOwnerUnits = kMaxUnits / kUnitBytes;
inline constexpr UnitId kFirstFileUnit = kFirstOwnerUnit + kOwnerUnits;

// The bytes of a memory file for this limit. More than kMaxUnits units when
// there cannot be such a file.
constexpr uint64_t StateFileBytes(uint64_t limit_bytes) {
  return (kFirstFileUnit + RangeBytes(limit_bytes) / kUnitBytes + 1) *
         kUnitBytes;
}

// As it lies in the file. What is zero was never written: `magic` is written
// last.
struct StateHeader {
  // A header for a new file. `format` is of the arena's user.
  static StateHeader Make(uint64_t format, uint64_t address,
                          uint64_t file_bytes, uint64_t limit_bytes);

  // Whether this program understands a file with this header. Else
  // FAILED_PRECONDITION, which names `dir` and says what was found, what was
  // expected, and what to do.
  absl::Status Check(uint64_t expected_format, const std::string& dir) const;

  uint64_t magic = 0;
  // Fields up to here stay where they are in all versions.
  uint64_t version = 0;
  // What the layout of the arena depends on.
  uint32_t page_bytes = 0;
  uint32_t unit_bytes = 0;
  uint32_t object_alignment = 0;
  uint32_t root_area_bytes = 0;
  uint64_t size_classes = 0;  // A hash of their table.
  // Of the structures in the arena.
  uint64_t format = 0;
  // Where the file is mapped: objects hold pointers.
  uint64_t address = 0;
  // Of all fields above but `magic`.
  uint64_t checksum = 0;
  // These grow.
  uint64_t file_bytes = 0;
  uint64_t limit_bytes = 0;
};

static_assert(std::is_trivially_copyable_v<StateHeader> &&
              sizeof(StateHeader) == 80);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_STATE_HEADER_H_
