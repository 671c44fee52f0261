#include "server/engine/content/chunk_refs.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/clock.h"
#include "server/engine/content/codec.h"
#include "server/engine/content/hot_node.h"
#include "server/engine/content/scratch.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {
namespace {

bool TimedReadFrame(const Arena& arena, const Frame& frame,
                    absl::Span<char> out, ReadCost* cost) {
  const int64_t start = SteadyNowNs();
  const bool good = ReadFrame(arena, frame, out);
  const int64_t took_ns = SteadyNowNs() - start;
  if (cost->decompressions == 0) cost->began_ns = start;
  cost->durations.Record(took_ns);
  cost->decompress_ns += took_ns;
  ++cost->decompressions;
  if (!good) ++cost->corrupt_frames;
  return good;
}

}  // namespace

Slot ChunkRefs::Current(const ChunkMap& map, int block) {
  if (map.hot != nullptr && Holds(map.hot->present, block)) {
    return Slot::OfPage(map.hot->pages[block]);
  }
  return map.cold[block];
}

void ChunkRefs::Take(const ChunkMap& map, BlockMask blocks) {
  Clear();
  taken_ = blocks;
  hot_ = map.hot == nullptr ? 0 : blocks & map.hot->present;
  for (const int block : Bits(blocks)) {
    slots_[block] = Current(map, block);
    if (Frame* frame = slots_[block].frame()) {
      RefFrame(frame);
    } else if (slots_[block].kind == SlotKind::kPage) {
      arena_.RefPage(slots_[block].page());
    }
  }
}

void ChunkRefs::Clear() {
  for (const int block : Bits(taken_)) {
    const Slot& slot = slots_[block];
    if (Frame* frame = slot.frame()) {
      UnrefFrame(arena_, frame);
    } else if (slot.kind == SlotKind::kPage) {
      arena_.UnrefPage(slot.page());
    }
  }
  taken_ = hot_ = 0;
  met_outside_ = false;
}

bool ChunkRefs::SameIn(const ChunkMap& map, BlockMask blocks) const {
  for (const int block : Bits(blocks)) {
    if (slots_[block] != Current(map, block)) return false;
  }
  return true;
}

BlockMask ChunkRefs::BlocksOfFrame(int first, BlockMask of) const {
  BlockMask blocks = 0;
  for (const int block : Bits(of)) {
    if (slots_[block] == slots_[first]) blocks |= BlockBit(block);
  }
  return blocks;
}

bool ChunkRefs::CopyFromFrame(int first, BlockMask blocks, size_t begin,
                              size_t end, char* out, ReadCost* cost) {
  const Frame& frame = *slots_[first].frame();
  if (frame.outside()) {
    met_outside_ = true;
    return false;
  }
  const int count = std::popcount(blocks);
  const bool whole = blocks == frame.blocks && IsRun(blocks) &&
                     first * kBlockBytes >= begin &&
                     (first + count) * kBlockBytes <= end;
  // A whole frame of consecutive blocks is decompressed right into place.
  // Anything else goes through the scratch buffer, from which the reader may
  // also cache blocks.
  if (whole) {
    return TimedReadFrame(
        arena_, frame,
        {out + (first * kBlockBytes - begin), frame.content_bytes()}, cost);
  }
  absl::Span<char> content(ThreadScratch().content, frame.content_bytes());
  if (!TimedReadFrame(arena_, frame, content, cost)) return false;
  frame_in_scratch_ = &frame;
  for (const int block : Bits(blocks)) {
    const size_t from = std::max(begin, block * kBlockBytes);
    const size_t to = std::min(end, (block + 1) * kBlockBytes);
    std::memcpy(
        out + (from - begin),
        content.data() + frame.OffsetOf(block) + (from - block * kBlockBytes),
        to - from);
  }
  return true;
}

bool ChunkRefs::Copy(size_t begin, size_t end, char* out, ReadCost* cost) {
  frame_in_scratch_ = nullptr;
  BlockMask left = BlocksIn(begin, end);
  while (left != 0) {
    const int block = std::countr_zero(left);
    const Slot& slot = slots_[block];
    if (slot.kind == SlotKind::kFrame) {
      const BlockMask blocks = BlocksOfFrame(block, left);
      if (!CopyFromFrame(block, blocks, begin, end, out, cost)) return false;
      left &= ~blocks;
      continue;
    }
    left &= left - 1;
    const size_t from = std::max(begin, block * kBlockBytes);
    const size_t to = std::min(end, (block + 1) * kBlockBytes);
    char* target = out + (from - begin);
    if (slot.kind == SlotKind::kHole) {
      std::memset(target, 0, to - from);
    } else if (slot.kind == SlotKind::kPage) {
      std::memcpy(target,
                  arena_.PageData(slot.page()) + (from - block * kBlockBytes),
                  to - from);
    } else {
      char filled[kBlockBytes];
      codec::FillPattern(slot.value, filled);
      std::memcpy(target, filled + (from - block * kBlockBytes), to - from);
    }
  }
  return true;
}

bool ChunkRefs::CopyVia(char* own, size_t begin, size_t end, char* out,
                        ReadCost* cost) {
  cost->corrupt_frames = 0;
  if (!Copy(begin, end, own, cost)) return false;
  std::memcpy(out, own, end - begin);
  return true;
}

BlockMask ChunkRefs::CopyBlocks(BlockMask blocks, char* chunk, ReadCost* cost) {
  BlockMask damaged = 0;
  // Frame by frame, so that none is decompressed twice.
  for (BlockMask left = blocks; left != 0;) {
    const int block = std::countr_zero(left);
    BlockMask now = BlockBit(block);
    bool good;
    if (slots_[block].kind == SlotKind::kFrame) {
      now = BlocksOfFrame(block, left);
      good = CopyFromFrame(block, now, 0, kChunkBytes, chunk, cost);
    } else {
      good = Copy(block * kBlockBytes, (block + 1) * kBlockBytes,
                  chunk + block * kBlockBytes, cost);
    }
    if (!good) damaged |= now;
    left &= ~now;
  }
  return damaged;
}

bool ChunkRefs::AllPages(BlockMask blocks) const {
  for (const int block : Bits(blocks)) {
    if (slots_[block].kind != SlotKind::kPage) return false;
  }
  return true;
}

}  // namespace ramvol::engine
