#include "server/engine/volume/encoded_writer.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "base/mutex.h"
#include "server/engine/content/chunk_edit.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/codec.h"
#include "server/engine/content/frame.h"
#include "server/engine/content/scratch.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {
namespace {

// How often other threads may take the room that was made for a frame.
constexpr int kMaxAttempts = 16;

BlockMask MaskOf(const EncodedRun& run) {
  return RunMask(run.first_block, run.blocks);
}

// Whether the runs are those of a chunk, one after the other.
bool CoverChunk(const EncodedChunk& chunk) {
  int next = 0;
  for (const EncodedRun& run : chunk.runs) {
    if (run.first_block != next || run.blocks < 1 ||
        run.blocks > kBlocksPerChunk - next) {
      return false;
    }
    next += run.blocks;
  }
  return next == kBlocksPerChunk;
}

// Fills the run's part of `content`, of kChunkBytes, and the checksum of a
// frame.
bool Decode(EncodedRun* run, char* content) {
  const absl::Span<char> out(content + run->first_block * kBlockBytes,
                             run->blocks * kBlockBytes);
  switch (run->kind) {
    case RunKind::kZeroes:
      std::memset(out.data(), 0, out.size());
      return true;
    case RunKind::kRaw:
      if (run->bytes.size() != out.size()) return false;
      std::memcpy(out.data(), run->bytes.data(), out.size());
      return true;
    case RunKind::kFrame:
      break;
  }
  if (!codec::Decompress(run->bytes, out)) return false;
  const uint32_t checksum = codec::Checksum(out);
  run->as_stored = false;
  return std::exchange(run->checksum, checksum).value_or(checksum) == checksum;
}

// The slots of another chunk, to put some of them into a map.
class SharedSlots {
 public:
  explicit SharedSlots(Arena& arena) : arena_(arena) {}
  ~SharedSlots() {
    map_.ForEachFrame([&](Frame* frame, BlockMask blocks) {
      if ((blocks & used_) == 0) UnrefFrame(arena_, frame);
    });
    for (int block = 0; block < kBlocksPerChunk; ++block) {
      const Slot& slot = map_.cold[block];
      if (slot.kind == SlotKind::kPage && !Holds(used_, block)) {
        arena_.UnrefPage(slot.page());
      }
    }
  }
  SharedSlots(const SharedSlots&) = delete;
  SharedSlots& operator=(const SharedSlots&) = delete;

  void Take(const Home& home) { map_ = ShareAt(home); }
  const ChunkMap& map() const { return map_; }
  // Those that take memory.
  BlockMask blocks() const {
    BlockMask blocks = 0;
    for (int block = 0; block < kBlocksPerChunk; ++block) {
      const SlotKind kind = map_.cold[block].kind;
      const bool takes = kind == SlotKind::kPage || kind == SlotKind::kFrame;
      if (takes) blocks |= BlockBit(block);
    }
    return blocks;
  }
  // The reference goes with it, to one map.
  Slot Use(int block) {
    used_ |= BlockBit(block);
    return map_.cold[block];
  }

 private:
  Arena& arena_;
  ChunkMap map_;
  BlockMask used_ = 0;
};

// Replaces what is left of `outside` in `map`: `same` by what is shared, all
// else by what the piece has. That keeps what is not used.
void PutIn(const Frame& outside, BlockMask same, SharedSlots* shared,
           PieceWrite* piece, ChunkMap& map) {
  const BlockMask blocks = map.BlocksOf(&outside);
  for (const int block : Bits(blocks)) {
    const Slot& fresh = piece->fresh[block];
    if (Holds(same, block)) {
      map.cold[block] = shared->Use(block);
    } else if (Holds(piece->dirty, block)) {
      map.cold[block] = Slot();
      SetHot(map, block, fresh.page(), true);
    } else {
      map.cold[block] = fresh;
    }
  }
  for (const int block : Bits(blocks & ~same)) {
    const Slot used = piece->fresh[block];
    for (Slot& slot : piece->fresh) {
      if (slot == used && used.kind != SlotKind::kHole) slot = Slot();
    }
  }
}

// Whether it repeats 8 bytes, so that no frame needs to hold it.
bool IsSameFilled(const char* block) {
  return codec::SameFilledPattern(block).has_value();
}

}  // namespace

Refusal EncodedWriter::Write(absl::Span<EncodedChunk> chunks) {
  Mutex mu;
  Refusal first_refusal;
  std::atomic<bool> failed = false;
  parts_.engine.work.Share(chunks.size(), [&](size_t i) {
    if (failed.load(std::memory_order_relaxed)) return;
    const Refusal refusal = WriteOne(&chunks[i]);
    if (refusal.ok()) return;
    MutexLock lock(&mu);
    if (!failed.exchange(true)) first_refusal = refusal;
  });
  reclaimer_.Throttle();
  return first_refusal;
}

Refusal EncodedWriter::WriteOne(EncodedChunk* chunk) {
  const Refusal damaged{Cause::kCorrupt, chunk->chunk};
  if (!CoverChunk(*chunk)) return damaged;
  const uint64_t size = parts_.content.size_bytes();
  const uint64_t begin = chunk->chunk * kChunkBytes;
  const uint64_t length =
      begin >= size ? 0 : std::min(kChunkBytes, size - begin);
  // Of blocks that are there as a whole.
  const auto whole_blocks = static_cast<int>(length / kBlockBytes);
  const auto content = std::make_unique_for_overwrite<char[]>(kChunkBytes);
  if (!DecodeRuns(chunk, whole_blocks, content.get())) return damaged;
  if (length == 0) return Refusal();
  std::memset(content.get() + length, 0, kChunkBytes - length);

  PieceWrite piece(parts_.arena(), parts_.content.layer());
  piece.SetRange(chunk->chunk, 0, length);
  // The last block is known as a whole, whatever lies in it past the end.
  piece.partial = 0;
  piece.data = content.get();
  piece.must_succeed = parts_.packing.reserves();
  piece.max_span = parts_.packing.write_span(kChunkBytes * 2);
  const BlockMask all =
      piece.touched &
      ~(chunk->keeps_same ? SameBlocks(*chunk, content.get()) : 0);
  if (all == 0) return Refusal();
  Refusal refusal = Prepare(*chunk, content.get(), all, whole_blocks, &piece);
  if (refusal.ok()) refusal = pieces_.Commit(&piece);
  pieces_.Discard(&piece);
  return refusal;
}

Refusal EncodedWriter::Prepare(const EncodedChunk& chunk, const char* content,
                               BlockMask blocks, int whole_blocks,
                               PieceWrite* piece) {
  BlockMask kept = 0;
  for (const EncodedRun& run : chunk.runs) {
    const BlockMask mask = MaskOf(run) & blocks;
    if (mask == 0 || run.first_block + run.blocks > whole_blocks) continue;
    const bool stays_raw = chunk.settled && run.kind == RunKind::kRaw;
    if (stays_raw || run.as_stored || KeepsFrame(run, content, piece)) {
      kept |= mask;
    }
  }
  piece->touched = blocks & ~kept;
  Refusal refusal = pieces_.Prepare(1, piece);
  for (const EncodedRun& run : chunk.runs) {
    const BlockMask of_run = MaskOf(run) & kept;
    if (!refusal.ok() || of_run == 0) continue;
    refusal = run.kind == RunKind::kRaw ? AddPages(of_run, piece)
                                        : AddFrame(run, chunk.settled, piece);
  }
  piece->touched = blocks;
  return refusal;
}

Refusal EncodedWriter::ReadIn(const Frame& frame, const Home& home,
                              const Home& below, EncodedChunk* chunk) {
  const Refusal damaged{Cause::kCorrupt, chunk->chunk};
  if (!CoverChunk(*chunk)) return damaged;
  const int whole_blocks = std::bit_width(frame.blocks);
  SharedSlots shared(parts_.arena());
  if (below) shared.Take(below);
  chunk->keeps_same = shared.blocks() != 0;
  const auto content = std::make_unique_for_overwrite<char[]>(kChunkBytes);
  if (!DecodeRuns(chunk, whole_blocks, content.get())) return damaged;
  BlockMask same = 0;
  if (chunk->keeps_same) {
    ChunkRefs refs(parts_.arena());
    refs.Take(shared.map(), kAllBlocks);
    same = SameBlocksIn(refs, *chunk, content.get()) & shared.blocks() &
           frame.blocks;
  }
  PieceWrite piece(parts_.arena(), parts_.content.layer());
  piece.SetRange(chunk->chunk, 0, whole_blocks * kBlockBytes);
  piece.data = content.get();
  piece.must_succeed = true;
  piece.max_span = parts_.packing.write_span(kChunkBytes * 2);
  Refusal refusal = Prepare(*chunk, content.get(), frame.blocks & ~same,
                            whole_blocks, &piece);
  if (refusal.ok()) {
    Replaced replaced;
    KeepAt(
        home, parts_.hot(), *piece.layer, &replaced,
        [&](ChunkMap& map) { PutIn(frame, same, &shared, &piece, map); },
        /*shares=*/same != 0);
    Free(&replaced);
  }
  pieces_.Discard(&piece);
  return refusal;
}

bool EncodedWriter::DecodeRuns(EncodedChunk* chunk, int whole_blocks,
                               char* content) const {
  for (EncodedRun& run : chunk->runs) {
    const bool may_stay = run.as_stored && MayKeep(run) &&
                          run.first_block + run.blocks <= whole_blocks;
    if (may_stay && !chunk->keeps_same) continue;
    EncodedRun decoded = run;
    if (Decode(&decoded, content)) {
      run = decoded;
    } else if (!may_stay) {
      return false;
    }
  }
  return true;
}

bool EncodedWriter::MayKeep(const EncodedRun& run) const {
  return run.kind == RunKind::kFrame && parts_.packing.compresses() &&
         run.blocks <= parts_.packing.max_span() && !run.bytes.empty() &&
         run.bytes.size() <= MaxStoredBytes(run.blocks);
}

bool EncodedWriter::KeepsFrame(const EncodedRun& run, const char* content,
                               PieceWrite* piece) const {
  if (!MayKeep(run)) return false;
  BlockMask same = 0;
  for (const int block : Bits(MaskOf(run))) {
    if (IsSameFilled(content + block * kBlockBytes)) same |= BlockBit(block);
  }
  // A frame that is mostly dead from the beginning is no gain.
  if (2 * std::popcount(same) >= run.blocks) return false;
  for (const int block : Bits(same)) {
    const uint64_t pattern =
        *codec::SameFilledPattern(content + block * kBlockBytes);
    if (pattern != 0) piece->fresh[block] = Slot::OfPattern(pattern);
  }
  return true;
}

BlockMask EncodedWriter::SameBlocks(const EncodedChunk& chunk,
                                    const char* content) const {
  ChunkRefs refs(parts_.arena());
  if (!parts_.content.Take(chunk.chunk, 0, kAllBlocks, &refs).ok()) return 0;
  return SameBlocksIn(refs, chunk, content);
}

BlockMask EncodedWriter::SameBlocksIn(ChunkRefs& refs,
                                      const EncodedChunk& chunk,
                                      const char* content) const {
  ReadCost cost(parts_.totals().decompressions);
  char* const now = ThreadScratch().chunk;
  const BlockMask damaged = refs.CopyBlocks(kAllBlocks, now, &cost);
  parts_.counters.AddReadCost(cost);
  BlockMask same = 0;
  for (const int block : Bits(kAllBlocks & ~damaged)) {
    const size_t at = block * kBlockBytes;
    if (std::memcmp(now + at, content + at, kBlockBytes) == 0) {
      same |= BlockBit(block);
    }
  }
  for (const EncodedRun& run : chunk.runs) {
    const BlockMask mask = MaskOf(run);
    const bool partly = run.kind == RunKind::kFrame && (same & mask) != mask;
    if (partly || run.as_stored) same &= ~mask;
  }
  return same;
}

Refusal EncodedWriter::AddPages(BlockMask blocks, PieceWrite* piece) {
  for (const int block : Bits(blocks)) {
    const char* const data = piece->DataOf(block);
    if (const auto pattern = codec::SameFilledPattern(data)) {
      if (*pattern != 0) piece->fresh[block] = Slot::OfPattern(*pattern);
      continue;
    }
    const PageId page = reclaimer_.NewPage(*piece->layer, piece->must_succeed);
    if (page == 0) return reclaimer_.OutOfMemory(*piece->layer);
    std::memcpy(parts_.arena().PageData(page), data, kBlockBytes);
    piece->fresh[block] = Slot::OfPage(page);
  }
  return Refusal();
}

Refusal EncodedWriter::AddFrame(const EncodedRun& run, bool settled,
                                PieceWrite* piece) {
  Frame* frame = nullptr;
  for (int i = 0; i < kMaxAttempts; ++i) {
    frame = NewFrame(piece->layer->account, Priority::kNormal, MaskOf(run),
                     *run.checksum, run.bytes);
    if (frame != nullptr) break;
    if (!reclaimer_.MakeRoom(*piece->layer, run.blocks * kBlockBytes)) break;
  }
  if (frame == nullptr && piece->must_succeed) {
    frame = NewFrame(piece->layer->account, Priority::kGuaranteed, MaskOf(run),
                     *run.checksum, run.bytes);
  }
  if (frame == nullptr) return reclaimer_.OutOfMemory(*piece->layer);
  frame->merged.store(settled && run.blocks == kBlocksPerChunk,
                      std::memory_order_relaxed);
  for (const int block : Bits(frame->blocks)) {
    if (!run.as_stored && IsSameFilled(piece->DataOf(block))) continue;
    piece->fresh[block] = Slot::OfFrame(frame);
  }
  return Refusal();
}

}  // namespace ramvol::engine
