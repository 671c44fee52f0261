// Blocks, chunks, and sets of a chunk's blocks.
#ifndef RAMVOL_SERVER_ENGINE_TYPES_BLOCKS_H_
#define RAMVOL_SERVER_ENGINE_TYPES_BLOCKS_H_

#include <bit>
#include <cstdint>

namespace ramvol::engine {

inline constexpr uint64_t kBlockBytes = 4096;
inline constexpr uint64_t kChunkBytes = 65536;
inline constexpr int kBlocksPerChunk = 16;

// A set of blocks of a chunk: bit i is block i.
using BlockMask = uint16_t;
inline constexpr BlockMask kAllBlocks = 0xffff;

constexpr BlockMask BlockBit(int block) {
  return static_cast<BlockMask>(1u << block);
}
constexpr bool Holds(BlockMask blocks, int block) {
  return (blocks >> block & 1) != 0;
}
// `count` blocks from `first` on.
constexpr BlockMask RunMask(int first, int count) {
  return static_cast<BlockMask>(((1u << count) - 1) << first);
}
// The blocks that bytes [begin, end) of a chunk lie in. The range must not be
// empty.
constexpr BlockMask BlocksIn(uint64_t begin, uint64_t end) {
  const int first = static_cast<int>(begin / kBlockBytes);
  const int last = static_cast<int>((end - 1) / kBlockBytes);
  return RunMask(first, last - first + 1);
}
// Whether `blocks` are consecutive.
constexpr bool IsRun(BlockMask blocks) {
  return blocks == RunMask(std::countr_zero(blocks), std::popcount(blocks));
}

// Walks the numbers of the bits set in a mask, lowest first:
//   for (const int block : Bits(blocks)) ...
// Iterates over a copy, so the mask may change meanwhile.
class Bits {
 public:
  explicit constexpr Bits(uint64_t mask) : mask_(mask) {}

  class Iterator {
   public:
    explicit constexpr Iterator(uint64_t left) : left_(left) {}
    constexpr int operator*() const { return std::countr_zero(left_); }
    constexpr Iterator& operator++() {
      left_ &= left_ - 1;
      return *this;
    }
    friend constexpr bool operator==(Iterator, Iterator) = default;

   private:
    uint64_t left_;
  };
  constexpr Iterator begin() const { return Iterator(mask_); }
  constexpr Iterator end() const { return Iterator(0); }

 private:
  const uint64_t mask_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_TYPES_BLOCKS_H_
