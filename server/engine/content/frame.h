// A frame: some blocks of one chunk, compressed together. Immutable once made,
// and counted, so that readers decompress without a lock and others can
// share it.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_FRAME_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_FRAME_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "server/engine/memory/account.h"
#include "server/engine/memory/arena.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

// Compressed bytes beyond which storing raw blocks takes no more memory.
constexpr size_t MaxStoredBytes(int blocks) {
  return static_cast<size_t>(blocks) * (kBlockBytes - kBlockBytes / 16);
}

// The header; behind it lie stored / 4096 page numbers, for as many full pages
// of compressed bytes, and then the rest of those bytes. So a frame costs its
// size, 16 bytes, 4 a page, and the rounding of its last part only.
struct Frame {
  std::atomic<uint32_t> refs;
  uint32_t checksum;  // codec::Checksum of the uncompressed blocks.
  BlockMask blocks;   // Which blocks it holds, in order, 4096 bytes each.
  uint16_t stored;    // Compressed bytes.
  // kYoung, and how often a part of it was read; see Touch.
  std::atomic<uint8_t> heat;
  std::atomic<bool> merged;  // Merging it again would gain nothing.
  uint16_t unused;

  static constexpr uint8_t kYoung = 0x80;

  // Bytes when decompressed.
  size_t content_bytes() const { return std::popcount(blocks) * kBlockBytes; }
  // Where block `block`, which must be in it, lies in the content.
  size_t OffsetOf(int block) const {
    return std::popcount(static_cast<BlockMask>(blocks & ((1u << block) - 1))) *
           kBlockBytes;
  }
  // Whether most of it is dead when `live` blocks are not.
  bool MostlyDead(BlockMask live) const {
    return 2 * std::popcount(live) <= std::popcount(blocks);
  }
  // log2 of the length of the shortest aligned run around its blocks.
  int SpanLog2() const;
  // Notes that a part of it was read; returns how often lately, at most 127.
  int Touch();

  size_t page_count() const { return stored / kPageBytes; }
  size_t object_bytes() const {
    return sizeof(Frame) + page_count() * sizeof(PageId) + stored % kPageBytes;
  }
  // What it takes from the arena.
  size_t ChargedBytes() const {
    return Arena::AllocatedBytes(object_bytes()) + page_count() * kPageBytes;
  }

  PageId* pages() { return reinterpret_cast<PageId*>(this + 1); }
  const PageId* pages() const {
    return reinterpret_cast<const PageId*>(this + 1);
  }
  const char* tail() const {
    return reinterpret_cast<const char*>(pages() + page_count());
  }
};
static_assert(sizeof(Frame) == 16);

// Makes a frame with one reference, charged to `account`, that holds `blocks`,
// whose content has `checksum` and compresses to `compressed` (1 to 65535
// bytes). nullptr at a memory limit.
Frame* NewFrame(Account& account, Priority priority, BlockMask blocks,
                uint32_t checksum, absl::Span<const char> compressed);

// The same bytes in new memory; nullptr at a memory limit.
Frame* CopyFrame(Account& account, Priority priority, const Frame& frame);

inline void RefFrame(Frame* frame) {
  frame->refs.fetch_add(1, std::memory_order_relaxed);
}
// Frees the memory with the last reference. Charges are the account's affair.
void UnrefFrame(Arena& arena, Frame* frame);
// Takes its charge off `account` and drops a reference.
void ReleaseFrame(Account& account, Frame* frame);

// Fills `out`, of content_bytes(), and verifies it; false when the frame is
// damaged.
bool ReadFrame(const Arena& arena, const Frame& frame, absl::Span<char> out);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_FRAME_H_
