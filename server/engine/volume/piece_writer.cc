#include "server/engine/volume/piece_writer.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include "server/engine/content/codec.h"
#include "server/engine/content/frame.h"
#include "server/engine/content/hot_node.h"
#include "server/engine/content/packer.h"

namespace ramvol::engine {
namespace {

// The writer itself compresses this many or more whole blocks of a chunk. Fewer
// go to the hot cache, to be compressed later with their neighbours
// (docs/decisions/0023).
constexpr int kMinStreamBlocks = 4;
// How often other threads may take the room that was made for a frame.
constexpr int kMaxPackAttempts = 16;

}  // namespace

// --- Preparing ---

Refusal PieceWriter::Admit(size_t pieces, Layer& layer) {
  return reclaimer_.FindRoom(layer, parts_.content.MetadataBytes(pieces))
             ? Refusal()
             : reclaimer_.OutOfMemory(layer);
}

Refusal PieceWriter::Prepare(size_t pieces, PieceWrite* piece) {
  Refusal refusal;
  if (!piece->must_succeed) refusal = Admit(pieces, *piece->layer);
  if (refusal.ok()) refusal = PrepareWhole(piece);
  if (!refusal.ok() || piece->partial == 0) return refusal;
  refusal = TakeBase(piece->EndOffset(), piece);
  return refusal.ok() ? PreparePartial(piece) : refusal;
}

Refusal PieceWriter::PrepareZeroes(PieceWrite* piece) {
  Refusal refusal = TakeBase(piece->check_end ? piece->EndOffset() : 0, piece);
  if (!refusal.ok()) return refusal;
  for (const int block : Bits(piece->touched & ~piece->partial)) {
    piece->fresh[block] = piece->zero;
  }
  if (!piece->must_succeed) refusal = Admit(1, *piece->layer);
  return refusal.ok() ? PreparePartial(piece) : refusal;
}

Refusal PieceWriter::PrepareWhole(PieceWrite* piece) {
  const BlockMask whole = piece->touched & ~piece->partial;
  BlockMask rest = 0;
  for (const int block : Bits(whole)) {
    const std::optional<uint64_t> pattern =
        codec::SameFilledPattern(piece->DataOf(block));
    if (!pattern.has_value()) {
      rest |= BlockBit(block);
    } else if (*pattern !=
               0) {  // Blocks of zeroes are holes, the default in `fresh`.
      piece->fresh[block] = Slot::OfPattern(*pattern);
    }
  }
  if (rest == 0) return Refusal();
  if (!parts_.packing.compresses()) return PageWhole(rest, piece);
  const int min_span = parts_.packing.min_span();
  for (const BlockMask group : Partition(rest, min_span, piece->max_span)) {
    // Blocks that may soon get neighbours wait for them in the hot cache: those
    // of small writes, and a group within one smallest frame's run that this
    // write does not cover.
    const int first = std::countr_zero(group) / min_span * min_span;
    const bool waits = std::popcount(whole) < kMinStreamBlocks ||
                       (std::bit_width(group) <= first + min_span &&
                        (RunMask(first, min_span) & ~whole) != 0);
    if (waits) piece->dirty |= group;
    const Refusal refusal =
        waits ? PageWhole(group, piece) : PackWhole(group, piece);
    if (!refusal.ok()) return refusal;
  }
  return Refusal();
}

Refusal PieceWriter::PageWhole(BlockMask blocks, PieceWrite* piece) {
  for (const int block : Bits(blocks)) {
    const PageId page = reclaimer_.NewPage(*piece->layer, piece->must_succeed);
    if (page == 0) return reclaimer_.OutOfMemory(*piece->layer);
    std::memcpy(parts_.arena().PageData(page), piece->DataOf(block),
                kBlockBytes);
    piece->fresh[block] = Slot::OfPage(page);
  }
  return Refusal();
}

Refusal PieceWriter::PackWhole(BlockMask blocks, PieceWrite* piece) {
  const char* first = piece->DataOf(std::countr_zero(blocks));
  PackCost cost(parts_.totals().compressions);
  Frame* frame = nullptr;
  bool packed = false;
  bool has_room = true;
  for (int i = 0; i < kMaxPackAttempts && has_room; ++i) {
    // Gather each time: MakeRoom may overwrite the scratch buffers. What others
    // may change is copied, for both the frame and its checksum.
    const char* const content = piece->whose == BufferOf::kOthers
                                    ? GatherCopy(blocks, first)
                                    : Gather(blocks, first);
    packed = PackGroup(piece->layer->account, Priority::kNormal, blocks,
                       content, parts_.packing.write_level(), &frame, &cost);
    if (packed) break;
    has_room =
        reclaimer_.MakeRoom(*piece->layer, std::popcount(blocks) * kBlockBytes);
  }
  parts_.counters.AddPackCost(cost);
  if (!packed && piece->must_succeed) return PageWhole(blocks, piece);
  if (!packed) return reclaimer_.OutOfMemory(*piece->layer);
  if (frame == nullptr) return PageWhole(blocks, piece);
  for (const int block : Bits(blocks))
    piece->fresh[block] = Slot::OfFrame(frame);
  return Refusal();
}

Refusal PieceWriter::TakeBase(uint64_t end, PieceWrite* piece) {
  return parts_.content.Take(piece->chunk, end, piece->partial, &piece->base);
}

Refusal PieceWriter::PreparePartial(PieceWrite* piece) {
  for (;;) {
    Refusal refusal;
    for (const int block : Bits(piece->partial)) {
      if (refusal.ok()) refusal = FillPartial(block, piece);
    }
    if (refusal.ok() || !piece->base.met_outside()) return refusal;
    // All of them again, from one base.
    refusal = parts_.Load(piece->chunk);
    if (refusal.ok()) {
      refusal = TakeBase(piece->check_end ? piece->EndOffset() : 0, piece);
    }
    if (!refusal.ok()) return refusal;
  }
}

Refusal PieceWriter::FillPartial(int block, PieceWrite* piece) {
  const size_t block_begin = block * kBlockBytes;
  const size_t from = std::max(piece->begin, block_begin);
  const size_t to = std::min(piece->end, block_begin + kBlockBytes);
  char content[kBlockBytes];
  ReadCost cost(parts_.totals().decompressions);
  const bool good =
      piece->base.Copy(block_begin, block_begin + kBlockBytes, content, &cost);
  parts_.counters.AddReadCost(cost);
  if (!good) return {Cause::kCorrupt, piece->chunk};
  std::memcpy(content + (from - block_begin),
              piece->data + (from - piece->begin), to - from);
  return StorePartial(block, content, piece);
}

Refusal PieceWriter::StorePartial(int block, const char* content,
                                  PieceWrite* piece) {
  // A repeated attempt may find a page from the one before.
  Slot& fresh = piece->fresh[block];
  const std::optional<uint64_t> pattern = codec::SameFilledPattern(content);
  if (pattern.has_value()) {
    if (fresh.kind == SlotKind::kPage)
      piece->layer->account.FreePage(fresh.page());
    fresh = *pattern == 0 ? piece->zero : Slot::OfPattern(*pattern);
    piece->dirty &= ~BlockBit(block);
    return Refusal();
  }
  if (fresh.kind != SlotKind::kPage) {
    const PageId page = reclaimer_.NewPage(*piece->layer, piece->must_succeed);
    if (page == 0) return reclaimer_.OutOfMemory(*piece->layer);
    fresh = Slot::OfPage(page);
  }
  std::memcpy(parts_.arena().PageData(fresh.page()), content, kBlockBytes);
  if (parts_.packing.compresses()) piece->dirty |= BlockBit(block);
  return Refusal();
}

// --- Committing ---

Refusal PieceWriter::Commit(PieceWrite* piece) {
  const uint64_t end = piece->check_end ? piece->EndOffset() : 0;
  Replaced replaced;
  for (bool done = false; !done;) {
    Refusal refusal = parts_.content.Edit(
        {.chunk = piece->chunk, .end = end, .create = !piece->OnlyHoles()},
        *piece->layer, &replaced,
        [&](ChunkMap& map) { done = ApplyIfSame(piece, map, &replaced); });
    if (!refusal.ok()) return refusal;
    if (done) break;
    // The old content of partial blocks changed: make them again. Other pieces
    // may be committed already, so this must not fail for memory.
    piece->must_succeed = true;
    refusal = PreparePartial(piece);
    if (!refusal.ok()) return refusal;
  }
  Free(&replaced);
  if (replaced.mostly_dead) {
    parts_.AskToRewrite(piece->chunk, RewriteReason::kMostlyDead);
  }
  return Refusal();
}

bool PieceWriter::ApplyIfSame(PieceWrite* piece, ChunkMap& map,
                              Replaced* replaced) {
  if (!piece->base.SameIn(map, piece->partial)) {
    piece->base.Take(map, piece->partial);
    return false;
  }
  Apply(piece, map, replaced);
  return true;
}

void PieceWriter::Apply(PieceWrite* piece, ChunkMap& map, Replaced* replaced) {
  if (map.node != nullptr && (map.hot->present & piece->touched) != 0) {
    map.node->Use();
  }
  parts_.hot().CountDirtied(std::popcount(piece->dirty));
  DropHot(map, piece->touched, replaced);
  for (const int block : Bits(piece->touched)) {
    const Slot fresh = std::exchange(piece->fresh[block], Slot());
    if (Holds(piece->dirty, block)) {
      map.cold[block] = Slot();
      SetHot(map, block, fresh.page(), true);
    } else {
      map.cold[block] = fresh;
    }
  }
}

void PieceWriter::Discard(PieceWrite* piece) {
  // No slot of another frame lies between those of one, so comparing with the
  // last frame suffices to release each once.
  Frame* freed = nullptr;
  for (Slot& slot : piece->fresh) {
    if (slot.kind == SlotKind::kPage)
      piece->layer->account.FreePage(slot.page());
    Frame* frame = slot.frame();
    if (frame != nullptr && frame != freed) {
      ReleaseFrame(piece->layer->account, frame);
      freed = frame;
    }
    slot = Slot();
  }
}

}  // namespace ramvol::engine
