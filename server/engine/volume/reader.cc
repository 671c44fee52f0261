#include "server/engine/volume/reader.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "server/engine/content/content.h"
#include "server/engine/content/hot_node.h"
#include "server/engine/content/scratch.h"

namespace ramvol::engine {
namespace {

// A frame is split after this many recent reads of parts of it: then splitting
// pays for itself (docs/decisions/0008).
constexpr int kReadsBeforeSplit = 8;

// Collects extents in order, and joins neighbours of one state.
class ExtentBuilder {
 public:
  ExtentBuilder(uint64_t offset, uint64_t end, size_t max_extents)
      : position_(offset), end_(end), max_extents_(max_extents) {}

  // Adds the bytes from the end of the last call up to `to`. False when there
  // are too many extents.
  bool Add(uint64_t to, bool hole) {
    to = std::min(to, end_);
    if (to <= position_) return true;
    if (!extents_.empty() && extents_.back().hole == hole) {
      extents_.back().length_bytes += to - position_;
    } else if (extents_.size() == max_extents_) {
      return false;
    } else {
      extents_.push_back({position_, to - position_, hole});
    }
    position_ = to;
    return true;
  }
  bool AddChunk(uint64_t chunk, BlockMask present) {
    if (!Add(chunk * kChunkBytes, true)) return false;
    for (int block = 0; block < kBlocksPerChunk;) {
      const bool data = Holds(present, block);
      // Finds the next change of state; bit 16 ends the last run of the chunk.
      const unsigned rest = (data ? ~present : present) >> block;
      const int run = std::min<int>(std::countr_zero(rest | 1u << 16),
                                    kBlocksPerChunk - block);
      block += run;
      if (!Add(chunk * kChunkBytes + block * kBlockBytes, !data)) return false;
    }
    return true;
  }
  Extents Take() { return {std::move(extents_), position_}; }

 private:
  uint64_t position_;
  const uint64_t end_;
  const size_t max_extents_;
  std::vector<Extent> extents_;
};

}  // namespace

Refusal Reader::Read(uint64_t offset, absl::Span<char> out, ReadClock* clock,
                     BufferOf whose) {
  const bool sequential =
      last_read_end_.load(std::memory_order_relaxed) == offset;
  Refusal refusal;
  for (size_t done = 0; refusal.ok() && done < out.size();) {
    const uint64_t position = offset + done;
    const size_t begin = position % kChunkBytes;
    const size_t length =
        std::min<size_t>(kChunkBytes - begin, out.size() - done);
    refusal = ReadPiece(position / kChunkBytes, begin, begin + length,
                        out.data() + done, whose, sequential, clock);
    done += length;
  }
  last_read_end_.store(offset + out.size(), std::memory_order_relaxed);
  return refusal;
}

Refusal Reader::ReadPiece(uint64_t chunk, size_t begin, size_t end, char* out,
                          BufferOf whose, bool sequential, ReadClock* clock) {
  const BlockMask blocks = BlocksIn(begin, end);
  const bool small = end - begin <= kMaxSmallReadBytes;
  ChunkRefs refs(parts_.arena());
  const Refusal taken =
      TakeRefs(chunk, blocks, chunk * kChunkBytes + end, small, &refs);
  if (!taken.ok()) return taken;
  const int hits = std::popcount(refs.hot_blocks());
  parts_.counters.CountLookups(hits, std::popcount(blocks) - hits);
  ReadCost cost(parts_.totals().decompressions);
  // A frame that is decompressed where others may write cannot be trusted then:
  // neither its checksum, nor as content for the cache, which clones share.
  char* const wanted = out;
  const bool others = whose == BufferOf::kOthers;
  if (others && small && hits < std::popcount(blocks)) {
    out = ThreadScratch().chunk;
  }
  bool good = refs.Copy(begin, end, out, &cost);
  if (!good && others && out == wanted) {
    good = refs.CopyVia(ThreadScratch().chunk, begin, end, out, &cost);
  }
  if (out != wanted) std::memcpy(wanted, out, end - begin);
  parts_.counters.AddReadCost(cost);
  if (cost.decompressions > 0) clock->Decompressed(cost.began_ns);
  if (!good) {
    if (!refs.met_outside()) return {Cause::kCorrupt, chunk};
    const Refusal loaded = parts_.Load(chunk);
    if (!loaded.ok()) return loaded;
    return ReadPiece(chunk, begin, end, wanted, whose, sequential, clock);
  }
  if (!small || cost.decompressions == 0) return Refusal();
  // A read of a whole frame was decompressed straight into `out`; any other
  // went through the scratch buffer.
  if (const Frame* frame = refs.frame_in_scratch(); frame != nullptr) {
    // A sequential reader will want the rest of the frame, too.
    CacheBlocks(chunk, *frame, ThreadScratch().content,
                sequential ? frame->blocks : blocks & frame->blocks);
    return Refusal();
  }
  const Frame* frame = refs.slot(std::countr_zero(blocks)).frame();
  if (frame != nullptr && begin % kBlockBytes == 0) {
    CacheBlocks(chunk, *frame, out, frame->blocks);
  }
  return Refusal();
}

Refusal Reader::TakeRefs(uint64_t chunk, BlockMask blocks, uint64_t end,
                         bool small, ChunkRefs* refs) const {
  bool split = false;
  const Refusal refusal =
      parts_.content.Look(chunk, end, [&](const ChunkMap& map) {
        refs->Take(map, blocks);
        if (refs->hot_blocks() != 0) map.node->Use();
        if (!small) return false;
        for (const int block : Bits(blocks)) {
          Frame* frame = refs->slot(block).frame();
          if (frame == nullptr) continue;
          split = frame->Touch() >= kReadsBeforeSplit &&
                  1 << frame->SpanLog2() > parts_.packing.split_span();
          return true;  // A small read rarely touches two frames.
        }
        return false;
      });
  if (split) parts_.AskToRewrite(chunk, RewriteReason::kReadApart);
  return refusal;
}

void Reader::CacheBlocks(uint64_t chunk, const Frame& frame,
                         const char* content, BlockMask blocks) {
  const std::shared_ptr<Layer> layer = parts_.content.layer();
  std::array<PageId, kBlocksPerChunk> pages = {};
  for (const int block : Bits(blocks)) {
    pages[block] = layer->account.NewPage(Priority::kNormal);
    if (pages[block] == 0) break;
    std::memcpy(parts_.arena().PageData(pages[block]),
                content + frame.OffsetOf(block), kBlockBytes);
  }
  Replaced replaced;
  // Skip blocks that were written meanwhile: the frame no longer holds them.
  const auto keep = [&](ChunkMap& map) {
    for (const int block : Bits(blocks)) {
      const bool hot = map.hot != nullptr && Holds(map.hot->present, block);
      if (pages[block] == 0 || hot || map.cold[block].frame() != &frame) {
        continue;
      }
      SetHot(map, block, std::exchange(pages[block], 0), false);
    }
  };
  parts_.content.Keep(chunk, *layer, &replaced, keep).Ignore();
  for (const PageId page : pages) {
    if (page != 0) layer->account.FreePage(page);
  }
  Free(&replaced);
  reclaimer_.EvictSome();
}

Refusal Reader::FindExtents(uint64_t offset, uint64_t length,
                            size_t max_extents, Extents* extents) const {
  ExtentBuilder builder(offset, offset + length, max_extents);
  const uint64_t last = length == 0 ? 0 : (offset + length - 1) / kChunkBytes;
  bool fits = true;
  const auto add = [&](const Content::LeafView& leaf, uint64_t from) {
    uint64_t present = leaf.present();
    if (from > leaf.first_chunk()) {
      present &= ~uint64_t{0} << (from - leaf.first_chunk());
    }
    for (const int i : Bits(present)) {
      const uint64_t chunk = leaf.first_chunk() + i;
      if (chunk > last) break;
      leaf.LookAt(i, [&](ChunkEntry entry) {
        fits = builder.AddChunk(chunk, PresentBlocks(entry));
      });
      if (!fits) break;
    }
  };
  std::optional<uint64_t> next = offset / kChunkBytes;
  while (fits && length > 0 && next.has_value() && *next <= last) {
    next = parts_.content.VisitLeaf(
        *next, [&](const Content::LeafView& leaf) { add(leaf, *next); });
  }
  // The walk ends early when the volume is deleted meanwhile.
  if (parts_.content.closed()) return {Cause::kDeleted};
  if (fits) builder.Add(offset + length, true);
  *extents = builder.Take();
  return Refusal();
}

}  // namespace ramvol::engine
