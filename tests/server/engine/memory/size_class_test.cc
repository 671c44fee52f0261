#include "server/engine/memory/size_class.h"

#include <cstddef>

#include "gtest/gtest.h"

namespace ramvol::engine {
namespace {

TEST(SizeClassTest, EverySizeHasTheSmallestClassThatHoldsIt) {
  for (size_t bytes = 1; bytes <= kMaxObjectBytes; ++bytes) {
    const size_t index = SizeClassOf(bytes);
    ASSERT_LT(index, kSizeClasses);
    ASSERT_GE(GetSizeClass(index).object_bytes, bytes);
    if (index > 0) {
      ASSERT_LT(GetSizeClass(index - 1).object_bytes, bytes);
    }
  }
}

TEST(SizeClassTest, RoundingCostsLittle) {
  for (size_t bytes = 256; bytes <= kMaxObjectBytes; ++bytes) {
    const size_t rounding =
        GetSizeClass(SizeClassOf(bytes)).object_bytes - bytes;
    ASSERT_LE(rounding, bytes / 24 + kObjectAlignment) << bytes;
  }
}

TEST(SizeClassTest, SlotsAreAlignedAndFitAndAreFoundByAnyOfTheirBytes) {
  for (size_t index = 0; index < kSizeClasses; ++index) {
    const SizeClass& size = GetSizeClass(index);
    ASSERT_EQ(size.object_bytes % kObjectAlignment, 0u);
    ASSERT_LE(size.OffsetOf(size.slots), kUnitBytes);
    for (uint32_t slot = 0; slot < size.slots; ++slot) {
      const size_t offset = size.OffsetOf(slot);
      ASSERT_EQ(offset % kObjectAlignment, 0u);
      ASSERT_EQ(size.SlotAt(offset), slot);
      ASSERT_EQ(size.SlotAt(offset + size.object_bytes - 1), slot);
    }
  }
}

}  // namespace
}  // namespace ramvol::engine
