// A frame: some blocks of one chunk, compressed together. Immutable and counted
// by reference, so that readers decompress without a lock.
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

// Beyond this many compressed bytes, raw pages take no more memory.
constexpr size_t MaxStoredBytes(int blocks) {
  return static_cast<size_t>(blocks) * (kBlockBytes - kBlockBytes / 16);
}

// The header of a frame. One with no compressed bytes is *outside*: its content
// is still to be read, and `checksum` says from which image (Outside). It can
// do all that a frame can but be read, and outlives the process like others.
// Behind the header lie stored / 4096 page numbers, one for each full page of
// compressed bytes, and then the rest of the bytes, the tail. So a frame's
// overhead is 16 bytes, 4 for each page, and rounding of the tail
// (docs/decisions/0001).
struct Frame {
  std::atomic<uint32_t> refs;
  // codec::Checksum of the uncompressed blocks.
  uint32_t checksum;
  BlockMask blocks;  // The blocks that it holds, in order.
  uint16_t stored;   // Compressed bytes.
  // kYoung, and a count of recent reads of a part; see Touch.
  std::atomic<uint8_t> heat;
  std::atomic<bool> merged;  // Merging it again would gain nothing.
  // Maps of several volumes refer to it. See Arena::MarkCommon.
  std::atomic<bool> common;
  // Of one that is outside: what is kept of the memory limit for its content,
  // in units of kRoomUnit.
  uint8_t room;

  static constexpr uint64_t kRoomUnit = 512;
  static constexpr uint8_t kYoung = 0x80;

  bool outside() const { return stored == 0; }
  // Uncompressed size.
  size_t content_bytes() const { return std::popcount(blocks) * kBlockBytes; }
  // The offset of `block`, which must be in it, in the uncompressed content.
  size_t OffsetOf(int block) const {
    return std::popcount(static_cast<BlockMask>(blocks & ((1u << block) - 1))) *
           kBlockBytes;
  }
  // Whether at least half of its blocks are dead, given the `live` ones.
  bool MostlyDead(BlockMask live) const {
    return 2 * std::popcount(live) <= std::popcount(blocks);
  }
  // Whether another map refers to it, too, or a reader does. Then rewriting it
  // here would free nothing.
  bool HeldElsewhere() const {
    return common.load(std::memory_order_relaxed) &&
           refs.load(std::memory_order_relaxed) > 1;
  }
  // log2 of the length of the shortest aligned run that contains its blocks.
  int SpanLog2() const;
  // Notes a read of a part. Returns the number of recent ones, at most 127.
  int Touch();

  size_t page_count() const { return stored / kPageBytes; }
  size_t object_bytes() const {
    return sizeof(Frame) + page_count() * sizeof(PageId) + stored % kPageBytes;
  }
  // What it takes in the arena.
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

// Makes a frame of `blocks` with one reference, charged to `account`.
// `checksum` is of the uncompressed content, `compressed` has 1 to 65535 bytes;
// none for a frame that is outside, with the number of its image as `checksum`.
// nullptr at a memory limit.
Frame* NewFrame(Account& account, Priority priority, BlockMask blocks,
                uint32_t checksum, absl::Span<const char> compressed);

// Copies a frame to new memory; nullptr at a memory limit.
Frame* CopyFrame(Account& account, Priority priority, const Frame& frame);

inline void RefFrame(Frame* frame) {
  frame->refs.fetch_add(1, std::memory_order_relaxed);
}
// Frees the memory with the last reference. Does not change an account.
void UnrefFrame(Arena& arena, Frame* frame);
// Drops a reference, and takes the frame's charge off `account` unless it is
// common.
void ReleaseFrame(Account& account, Frame* frame);
// Makes the frame, which is charged to `account`, common. Nothing when it is
// already.
void MakeCommon(Account& account, Frame* frame);

// Copies the compressed bytes of the frame to `out`, which has room for
// `stored` of them.
void CopyStored(const Arena& arena, const Frame& frame, char* out);

// Fills `out`, of content_bytes(), and verifies the checksum. False when the
// frame is damaged.
bool ReadFrame(const Arena& arena, const Frame& frame, absl::Span<char> out);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_FRAME_H_
