// Reading, extents, and keeping what was read in the hot cache.
#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/clock.h"
#include "proto/base/reason.h"
#include "server/engine/content/scratch.h"
#include "server/engine/volume_core.h"

namespace ramvol::engine {
namespace {

// Longer reads neither use up the hot cache nor count as random.
constexpr size_t kMaxSmallReadBytes = 16384;
// So many recent reads of a part of a frame have it split.
constexpr int kReadsBeforeSplit = 8;

// Joins neighbours of one state as they come, in order.
class ExtentBuilder {
 public:
  ExtentBuilder(uint64_t offset, uint64_t end, size_t max_extents)
      : position_(offset), end_(end), max_extents_(max_extents) {}

  // The bytes from where the last call ended up to `to` are in state `hole`.
  // False once there are too many extents.
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

absl::Status VolumeCore::Read(uint64_t offset, absl::Span<char> out) {
  ReadClock clock(out.size() <= kMaxSmallReadBytes);
  absl::Status status = CheckRange("read", offset, out.size());
  if (status.ok() && out.size() > kMaxDataBytes) {
    status = InvalidField(
        "length",
        absl::StrCat("a read of ", out.size(), " bytes is longer than ",
                     kMaxDataBytes, "; cut it"),
        reason::kTooMuchData);
  }
  const bool sequential =
      last_read_end_.load(std::memory_order_relaxed) == offset;
  for (size_t done = 0; status.ok() && done < out.size();) {
    const uint64_t position = offset + done;
    const size_t begin = position % kChunkBytes;
    const size_t length =
        std::min<size_t>(kChunkBytes - begin, out.size() - done);
    status = ReadPiece(position / kChunkBytes, begin, begin + length,
                       out.data() + done, sequential, &clock);
    done += length;
  }
  last_read_end_.store(offset + out.size(), std::memory_order_relaxed);
  return Count(Operation::kRead, clock.TookNs(), out.size(), std::move(status));
}

absl::Status VolumeCore::ReadPiece(uint64_t chunk, size_t begin, size_t end,
                                   char* out, bool sequential,
                                   ReadClock* clock) {
  const BlockMask blocks = BlocksIn(begin, end);
  const bool small = end - begin <= kMaxSmallReadBytes;
  ChunkRefs refs(shared_.arena);
  absl::Status taken =
      TakeRefs(chunk, blocks, chunk * kChunkBytes + end, small, &refs);
  if (!taken.ok()) return taken;
  const int hits = std::popcount(refs.hot_blocks());
  if (hits > 0) {
    counters_.Add(IoCounter::kHits, hits);
    shared_.totals.counts.Add(Total::kHits, hits);
  }
  const int misses = std::popcount(blocks) - hits;
  if (misses > 0) {
    counters_.Add(IoCounter::kMisses, misses);
    shared_.totals.counts.Add(Total::kMisses, misses);
  }
  ReadCost cost(shared_.totals.decompressions);
  const bool good = refs.Copy(begin, end, out, &cost);
  AddReadCost(cost);
  if (cost.decompressions > 0) clock->Decompressed(cost.began_ns);
  if (!good) return Corrupt(chunk);
  if (!small || cost.decompressions == 0) return absl::OkStatus();
  // A read of a whole frame went straight to `out`, another through the
  // scratch.
  const Frame* frame = refs.frame_in_scratch();
  if (frame != nullptr) {
    CacheBlocks(chunk, *frame, ThreadScratch().content,
                sequential ? frame->blocks : blocks & frame->blocks);
  } else {
    const int first = std::countr_zero(blocks);
    frame = refs.slot(first).frame();
    if (frame != nullptr && begin % kBlockBytes == 0) {
      CacheBlocks(chunk, *frame, out, frame->blocks);
    }
  }
  return absl::OkStatus();
}

absl::Status VolumeCore::TakeRefs(uint64_t chunk, BlockMask blocks,
                                  uint64_t end, bool small, ChunkRefs* refs) {
  StripedReaderLock index_lock(&index_.lock());
  absl::Status status = CheckLocked(end);
  if (!status.ok()) return status;
  Leaf* leaf = index_.Find(chunk);
  if (leaf == nullptr) {
    refs->Take(ChunkMap(), blocks);
    return absl::OkStatus();
  }
  bool split = false;
  {
    MutexLock lock(&leaf->mu);
    const ChunkMap map = ChunkMap::Unpack(leaf->entries[chunk % kFanout]);
    refs->Take(map, blocks);
    if (map.hot != nullptr && refs->hot_blocks() != 0) map.hot->Use();
    for (const int block : Bits(small ? blocks : 0)) {
      Frame* frame = refs->slot(block).frame();
      if (frame == nullptr) continue;
      leaf->unsettled = true;
      split |= frame->Touch() >= kReadsBeforeSplit &&
               1 << frame->SpanLog2() > split_span();
      break;  // A small read rarely sees two.
    }
  }
  if (split) {
    shared_.work.Push({weak_from_this(), chunk, RewriteReason::kReadApart});
  }
  return absl::OkStatus();
}

// Keeps `blocks` of a frame that a small read decompressed to `content`.
// Nothing is kept when memory is short.
void VolumeCore::CacheBlocks(uint64_t chunk, const Frame& frame,
                             const char* content, BlockMask blocks) {
  std::array<PageId, kBlocksPerChunk> pages = {};
  for (const int block : Bits(blocks)) {
    pages[block] = account_.NewPage(Priority::kNormal);
    if (pages[block] == 0) break;
    std::memcpy(shared_.arena.PageData(pages[block]),
                content + frame.OffsetOf(block), kBlockBytes);
  }
  Dropped dropped;
  EditIfThere(chunk, 0, &dropped, [&](ChunkMap& map) {
    for (const int block : Bits(blocks)) {
      const bool hot = map.hot != nullptr && Holds(map.hot->present, block);
      if (pages[block] == 0 || hot || map.cold[block].frame() != &frame) {
        continue;
      }
      SetHot(map, chunk, block, std::exchange(pages[block], 0), false);
    }
  });
  for (PageId page : pages) {
    if (page != 0) dropped.pages.push_back(page);
  }
  Free(chunk, &dropped);
  EvictSome();
}

absl::StatusOr<Extents> VolumeCore::GetExtents(uint64_t offset, uint64_t length,
                                               size_t max_extents) {
  const int64_t began_ns = SteadyNowNs();
  auto extents = FindExtents(offset, length, max_extents);
  absl::Status status =
      Count(Operation::kExtents, SteadyNowNs() - began_ns, 0, extents.status());
  if (!status.ok()) return status;
  return extents;
}

absl::StatusOr<Extents> VolumeCore::FindExtents(uint64_t offset,
                                                uint64_t length,
                                                size_t max_extents) {
  absl::Status status = CheckRange("extents query", offset, length);
  if (!status.ok()) return status;
  ExtentBuilder builder(offset, offset + length, max_extents);
  const uint64_t last = length == 0 ? 0 : (offset + length - 1) / kChunkBytes;
  for (uint64_t next = offset / kChunkBytes; length > 0 && next <= last;) {
    StripedReaderLock index_lock(&index_.lock());
    status = CheckLocked(0);
    if (!status.ok()) return status;
    const std::optional<Index::Position> position = index_.FindFrom(next);
    if (!position.has_value() || position->first_chunk > last) break;
    MutexLock lock(&position->leaf->mu);
    uint64_t present = position->leaf->present;
    if (next > position->first_chunk) {
      present &= ~uint64_t{0} << (next - position->first_chunk);
    }
    for (const int i : Bits(present)) {
      const uint64_t chunk = position->first_chunk + i;
      if (chunk > last) break;
      if (!builder.AddChunk(chunk, PresentBlocks(position->leaf->entries[i]))) {
        return builder.Take();
      }
    }
    next = position->first_chunk + kFanout;
  }
  builder.Add(offset + length, true);
  return builder.Take();
}

}  // namespace ramvol::engine
