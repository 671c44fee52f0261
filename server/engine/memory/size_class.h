// The sizes that small objects are rounded up to.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_SIZE_CLASS_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_SIZE_CLASS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "server/engine/memory/memory_types.h"

namespace ramvol::engine {

// The layout of the slabs of one size: a bitmap of live slots, then the slots,
// end to end, up to the end of the unit.
struct SizeClass {
  uint32_t object_bytes = 0;
  uint32_t slots = 0;
  uint32_t header_bytes = 0;
  uint32_t reciprocal = 0;  // 2^32 / object_bytes, rounded up.

  constexpr size_t OffsetOf(uint32_t slot) const {
    return header_bytes + size_t{slot} * object_bytes;
  }
  // The slot at an offset behind the header. Exact without a division: an
  // offset has 18 bits and a size 13, so rounding up the reciprocal adds less
  // than half a byte to the offset.
  constexpr uint32_t SlotAt(size_t offset) const {
    return static_cast<uint32_t>(
        (offset - header_bytes) * uint64_t{reciprocal} >> 32);
  }

  static constexpr size_t HeaderBytes(size_t slots) {
    const size_t bytes = (slots + 63) / 64 * sizeof(uint64_t);
    return (bytes + kObjectAlignment - 1) & ~(kObjectAlignment - 1);
  }
  static constexpr SizeClass Of(size_t object_bytes) {
    size_t slots = kUnitBytes / object_bytes;
    while (HeaderBytes(slots) + slots * object_bytes > kUnitBytes) --slots;
    return {.object_bytes = static_cast<uint32_t>(object_bytes),
            .slots = static_cast<uint32_t>(slots),
            .header_bytes = static_cast<uint32_t>(HeaderBytes(slots)),
            .reciprocal = static_cast<uint32_t>(
                ((uint64_t{1} << 32) + object_bytes - 1) / object_bytes)};
  }
  // The class of the largest objects of which the same number fits, so that
  // little is left at the end of the unit.
  constexpr SizeClass Widened() const {
    const size_t bytes = (kUnitBytes - header_bytes) / slots;
    return Of(bytes & ~(kObjectAlignment - 1));
  }
};

namespace internal_size_class {

// Classes are 16 bytes apart up to this size, then a 40th of the size.
inline constexpr size_t kLinearBytes = 256;
inline constexpr size_t kStepShare = 40;
inline constexpr size_t kMaxClasses = 240;

struct Table {
  std::array<SizeClass, kMaxClasses> classes = {};
  size_t count = 0;
  // By size in units of kObjectAlignment, rounded up.
  std::array<uint8_t, kMaxObjectBytes / kObjectAlignment + 1> class_of = {};
};

constexpr size_t NextSize(size_t bytes) {
  const size_t step = bytes / kStepShare & ~(kObjectAlignment - 1);
  return bytes + std::max(step, kObjectAlignment);
}

constexpr Table MakeTable() {
  Table table;
  size_t covered = 0;  // Sizes up to here have a class.
  while (covered < kMaxObjectBytes) {
    SizeClass next =
        SizeClass::Of(std::min(NextSize(covered), kMaxObjectBytes));
    if (next.object_bytes > kLinearBytes) next = next.Widened();
    for (size_t size = covered + kObjectAlignment;
         size <= std::min<size_t>(next.object_bytes, kMaxObjectBytes);
         size += kObjectAlignment) {
      table.class_of[size / kObjectAlignment] = table.count;
    }
    table.classes[table.count++] = next;
    covered = next.object_bytes;
  }
  return table;
}

inline constexpr Table kTable = MakeTable();

}  // namespace internal_size_class

inline constexpr size_t kSizeClasses = internal_size_class::kTable.count;

// `index` is less than kSizeClasses.
constexpr const SizeClass& GetSizeClass(size_t index) {
  return internal_size_class::kTable.classes[index];
}

// The index of the smallest class for `bytes`, 1 to kMaxObjectBytes.
constexpr size_t SizeClassOf(size_t bytes) {
  return internal_size_class::kTable
      .class_of[(bytes + kObjectAlignment - 1) / kObjectAlignment];
}

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_SIZE_CLASS_H_
