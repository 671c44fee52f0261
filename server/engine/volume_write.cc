// Writing: each chunk's part is prepared, with everything that can fail, and
// then all are committed, which cannot.
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/clock.h"
#include "proto/base/reason.h"
#include "server/engine/content/codec.h"
#include "server/engine/content/scratch.h"
#include "server/engine/piece_write.h"
#include "server/engine/volume_core.h"

namespace ramvol::engine {
namespace {

// Whole blocks of one chunk that are compressed by the writer itself, together;
// fewer go to the hot cache and are compressed later with their neighbours.
constexpr int kMinStreamBlocks = 4;
// Room for index nodes, a hot node and a chunk's map, per chunk.
constexpr uint64_t kMetadataBytes = 1024;
// Writes of so many chunks are compressed by background threads, too, while the
// writer waits: from half a megabyte on that is worth waking them.
constexpr size_t kMinSharedPieces = 8;
constexpr int kMaxEvictions = 8;
// Compressing a chunk's dirty blocks takes so much at most before it gives
// their pages back.
constexpr uint64_t kFlushBytes = uint64_t{64} << 10;
// Rounds in which memory is searched for; the second one compresses what the
// first made room for.
constexpr int kReclaimPasses = 2;
// How often others may take the room that was made for a write's frame.
constexpr int kMaxPackAttempts = 16;

}  // namespace

bool VolumeCore::ReclaimFromCache(uint64_t bytes) {
  if (account_.OwnLimitRefuses(bytes)) {
    if (const std::optional<uint64_t> chunk = hot_nodes_.Rotate()) {
      FlushChunk(*chunk);
      DropClean(*chunk);
      return true;
    }
  } else if (HotChunk clean = shared_.hot.PickClean(); clean.owner != nullptr) {
    clean.owner->DropClean(clean.chunk);
    return true;
  } else if (!shared_.arena.HasRoom(kFlushBytes, Priority::kReclaim)) {
    // All that is left takes memory before it gives any back.
    return false;
  } else if (HotChunk dirty = shared_.hot.PickDirty(); dirty.owner != nullptr) {
    dirty.owner->FlushChunk(dirty.chunk);
    return true;
  }
  if (auto request = shared_.work.Pop()) {
    if (auto owner = request->owner.lock()) {
      owner->RewriteChunk(request->chunk, request->reason);
    }
    return true;
  }
  return false;
}

bool VolumeCore::Reclaim(uint64_t bytes, absl::FunctionRef<bool()> enough) {
  for (int pass = 0; pass < kReclaimPasses; ++pass) {
    // Each step takes a block out of the cache, or a request out of the queue.
    // What others put in meanwhile is theirs to take out.
    int64_t steps = shared_.hot.hot_blocks() + WorkQueue::kMaxRequests;
    for (; steps > 0 && ReclaimFromCache(bytes); --steps) {
      if (enough()) return true;
    }
    if (account_.OwnLimitRefuses(bytes)) return false;
    // The round that is under way, and a whole one.
    const uint64_t last_round = shared_.evacuator.rounds() + 2;
    while (shared_.evacuator.rounds() < last_round &&
           shared_.evacuator.Step(Evacuation::kTight)) {
      if (enough()) return true;
    }
  }
  return false;
}

bool VolumeCore::MakeRoom(uint64_t bytes) {
  return Reclaim(bytes, [&] { return account_.HasRoom(bytes); });
}

void VolumeCore::MakeRoomToReserve(uint64_t bytes) {
  if (account_.HasRoom(bytes)) return;
  const Arena& arena = shared_.arena;
  const uint64_t hot_bytes = shared_.hot.hot_blocks() * kBlockBytes;
  const uint64_t rest =
      arena.used_bytes() - std::min(arena.used_bytes(), hot_bytes);
  // Nobody's cache is emptied for what would not fit then either.
  if (rest + bytes <= arena.limit_bytes()) MakeRoom(bytes);
}

PageId VolumeCore::NewPageFor(const PieceWrite& piece) {
  PageId page = account_.NewPage(Priority::kNormal);
  if (page != 0) return page;
  Reclaim(kBlockBytes, [&] {
    page = account_.NewPage(Priority::kNormal);
    return page != 0;
  });
  if (page != 0 || !piece.must_succeed) return page;
  return account_.NewPage(Priority::kGuaranteed);
}

void VolumeCore::Throttle() {
  if (!shared_.hot.OverDirtyLow() && !shared_.hot.OverCapacity()) return;
  shared_.work.Wake();
  if (shared_.hot.OverDirtyHigh()) {
    HotChunk dirty = shared_.hot.PickDirty();
    if (dirty.owner != nullptr) {
      shared_.totals.counts.Add(Total::kThrottledWrites, 1);
      dirty.owner->FlushChunk(dirty.chunk);
    }
  }
  EvictSome();
}

void VolumeCore::EvictSome() {
  for (int i = 0; i < kMaxEvictions && shared_.hot.OverCapacity(); ++i) {
    HotChunk clean = shared_.hot.PickClean();
    if (clean.owner == nullptr) return;
    clean.owner->DropClean(clean.chunk);
  }
}

absl::Status VolumeCore::PageWhole(BlockMask blocks, PieceWrite* piece) {
  for (const int block : Bits(blocks)) {
    const PageId page = NewPageFor(*piece);
    if (page == 0) return OutOfMemory("write", 0, 0);
    std::memcpy(shared_.arena.PageData(page), piece->DataOf(block),
                kBlockBytes);
    piece->fresh[block] = Slot::OfPage(page);
  }
  return absl::OkStatus();
}

absl::Status VolumeCore::PackWhole(BlockMask blocks, PieceWrite* piece) {
  PackCost cost(shared_.totals.compressions);
  Frame* frame = nullptr;
  bool packed = false;
  bool has_room = true;
  for (int i = 0; i < kMaxPackAttempts && has_room; ++i) {
    // Gathered anew each time: reclaiming uses the scratch too.
    packed =
        PackGroup(account_, Priority::kNormal, blocks,
                  Gather(blocks, piece->DataOf(std::countr_zero(blocks))),
                  write_level_.load(std::memory_order_relaxed), &frame, &cost);
    if (packed) break;
    has_room = MakeRoom(std::popcount(blocks) * kBlockBytes);
  }
  AddPackCost(cost);
  if (!packed) return OutOfMemory("write", 0, 0);
  if (frame == nullptr) return PageWhole(blocks, piece);
  for (const int block : Bits(blocks)) {
    piece->fresh[block] = Slot::OfFrame(frame);
  }
  return absl::OkStatus();
}

absl::Status VolumeCore::PrepareWhole(PieceWrite* piece) {
  BlockMask rest = 0;
  for (const int block : Bits(piece->touched & ~piece->partial)) {
    const std::optional<uint64_t> pattern =
        codec::SameFilledPattern(piece->DataOf(block));
    if (!pattern.has_value()) {
      rest |= BlockBit(block);
    } else if (*pattern != 0) {
      piece->fresh[block] = Slot::OfPattern(*pattern);
    }
  }
  if (rest == 0) return absl::OkStatus();
  if (options_.allocator != Allocator::kZstd) return PageWhole(rest, piece);
  const BlockMask whole = piece->touched & ~piece->partial;
  for (BlockMask group : Partition(rest, min_span(), piece->max_span)) {
    // What may get neighbours soon waits for them in the hot cache: small
    // writes, and less than the smallest frame when the rest of that is not in
    // this write.
    const int first = std::countr_zero(group) / min_span() * min_span();
    const bool waits = std::popcount(whole) < kMinStreamBlocks ||
                       (std::bit_width(group) <= first + min_span() &&
                        (RunMask(first, min_span()) & ~whole) != 0);
    if (waits) piece->dirty |= group;
    absl::Status status =
        waits ? PageWhole(group, piece) : PackWhole(group, piece);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status VolumeCore::FillPartial(int block, PieceWrite* piece) {
  const size_t block_begin = block * kBlockBytes;
  const size_t from = std::max(piece->begin, block_begin);
  const size_t to = std::min(piece->end, block_begin + kBlockBytes);
  char content[kBlockBytes];
  ReadCost cost(shared_.totals.decompressions);
  const bool good =
      piece->base.Copy(block_begin, block_begin + kBlockBytes, content, &cost);
  AddReadCost(cost);
  if (!good) return Corrupt(piece->chunk);
  std::memcpy(content + (from - block_begin),
              piece->data + (from - piece->begin), to - from);
  Slot& fresh = piece->fresh[block];
  const std::optional<uint64_t> pattern = codec::SameFilledPattern(content);
  if (pattern.has_value()) {
    if (fresh.kind == SlotKind::kPage) account_.FreePage(fresh.page());
    fresh = *pattern == 0 ? piece->zero : Slot::OfPattern(*pattern);
    piece->dirty &= ~(BlockBit(block));
    return absl::OkStatus();
  }
  if (fresh.kind != SlotKind::kPage) {
    const PageId page = NewPageFor(*piece);
    if (page == 0) return OutOfMemory("write", 0, 0);
    fresh = Slot::OfPage(page);
  }
  std::memcpy(shared_.arena.PageData(fresh.page()), content, kBlockBytes);
  if (options_.allocator == Allocator::kZstd) {
    piece->dirty |= BlockBit(block);
  }
  return absl::OkStatus();
}

absl::Status VolumeCore::PreparePartial(PieceWrite* piece) {
  for (const int block : Bits(piece->partial)) {
    absl::Status status = FillPartial(block, piece);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status VolumeCore::Admit(absl::string_view what, size_t chunks) {
  const uint64_t bytes = chunks * kMetadataBytes;
  if (account_.HasRoom(bytes) || MakeRoom(bytes)) return absl::OkStatus();
  return OutOfMemory(what, 0, 0);
}

absl::Status VolumeCore::Prepare(size_t pieces, PieceWrite* piece) {
  absl::Status status;
  if (!piece->must_succeed) status = Admit("write", pieces);
  if (status.ok()) status = PrepareWhole(piece);
  if (!status.ok() || piece->partial == 0) return status;
  status = TakeRefs(piece->chunk, piece->partial, piece->EndOffset(), false,
                    &piece->base);
  if (!status.ok()) return status;
  return PreparePartial(piece);
}

absl::Status VolumeCore::PrepareAll(
    absl::Span<const std::unique_ptr<PieceWrite>> pieces) {
  Mutex mu;
  absl::Status first_error;
  std::atomic<bool> failed = false;
  const auto prepare = [&](size_t i) {
    if (failed.load(std::memory_order_relaxed)) return;
    absl::Status status = Prepare(pieces.size(), pieces[i].get());
    if (status.ok()) return;
    MutexLock lock(&mu);
    if (!failed.exchange(true)) first_error = std::move(status);
  };
  if (pieces.size() >= kMinSharedPieces) {
    shared_.work.Share(pieces.size(), prepare);
  } else {
    for (size_t i = 0; i < pieces.size(); ++i) prepare(i);
  }
  return first_error;
}

bool VolumeCore::CommitLocked(Leaf* leaf, PieceWrite* piece, Dropped* dropped) {
  const ChunkMap now = ChunkMap::Unpack(leaf->entries[piece->chunk % kFanout]);
  if (!piece->base.SameIn(now, piece->partial)) {
    piece->base.Take(now, piece->partial);
    return false;
  }
  EditLocked(leaf, piece->chunk, dropped,
             [&](ChunkMap& map) { Apply(piece, map, dropped); });
  return true;
}

absl::Status VolumeCore::Commit(PieceWrite* piece) {
  Dropped dropped;
  absl::Status status;
  bool emptied = false;
  for (bool done = false; !done;) {
    {
      StripedReaderLock index_lock(&index_.lock());
      status = CheckLocked(piece->check_end ? piece->EndOffset() : 0);
      if (!status.ok()) return status;
      Leaf* leaf =
          piece->OnlyHoles()
              ? index_.Find(piece->chunk)
              : index_.FindOrCreate(piece->chunk, Priority::kGuaranteed);
      if (leaf == nullptr) {  // Holes in a hole.
        done = piece->base.SameIn(ChunkMap(), piece->partial);
        if (!done) piece->base.Take(ChunkMap(), piece->partial);
      } else {
        MutexLock lock(&leaf->mu);
        done = CommitLocked(leaf, piece, &dropped);
        emptied = leaf->present == 0;
      }
    }
    if (done) continue;
    // Somebody changed what the partial blocks were made from: make them again.
    // Other pieces may be committed already, so memory must not be lacking.
    piece->must_succeed = true;
    status = PreparePartial(piece);
    if (!status.ok()) return status;
  }
  Free(piece->chunk, &dropped);
  if (emptied) {
    StripedWriterLock index_lock(&index_.lock());
    index_.Prune(piece->chunk, piece->chunk);
  }
  return absl::OkStatus();
}

void VolumeCore::Apply(PieceWrite* piece, ChunkMap& map, Dropped* dropped) {
  if (map.hot != nullptr && (map.hot->present & piece->touched) != 0) {
    map.hot->Use();
  }
  shared_.hot.CountDirtied(std::popcount(piece->dirty));
  DropHot(map, piece->touched, dropped);
  for (const int block : Bits(piece->touched)) {
    const Slot fresh = std::exchange(piece->fresh[block], Slot());
    if (Holds(piece->dirty, block)) {
      map.cold[block] = Slot();
      SetHot(map, piece->chunk, block, fresh.page(), true);
    } else {
      map.cold[block] = fresh;
    }
  }
}

void VolumeCore::Discard(PieceWrite* piece) {
  Frame* freed = nullptr;  // The blocks of a frame lie in one group, in order.
  for (Slot& slot : piece->fresh) {
    if (slot.kind == SlotKind::kPage) account_.FreePage(slot.page());
    Frame* frame = slot.frame();
    if (frame != nullptr && frame != freed) {
      ReleaseFrame(account_, frame);
      freed = frame;
    }
    slot = Slot();
  }
}

absl::Status VolumeCore::WritePieces(uint64_t offset,
                                     absl::Span<const char> data) {
  const bool reserved = options_.allocator == Allocator::kMalloc;
  absl::InlinedVector<std::unique_ptr<PieceWrite>, 1> pieces;
  for (size_t done = 0; done < data.size();) {
    const size_t begin = (offset + done) % kChunkBytes;
    const size_t length = std::min(kChunkBytes - begin, data.size() - done);
    auto piece = std::make_unique<PieceWrite>(shared_.arena);
    piece->SetRange((offset + done) / kChunkBytes, begin, begin + length);
    piece->data = data.data() + done;
    piece->must_succeed = reserved;
    piece->max_span = write_span(data.size());
    pieces.push_back(std::move(piece));
    done += length;
  }
  // The reservation covers the old content and not much of the new on top, so
  // both exist for one chunk at a time. Its memory cannot be refused.
  const size_t at_once = reserved ? 1 : pieces.size();
  absl::Status status;
  for (size_t i = 0; status.ok() && i < pieces.size(); i += at_once) {
    const auto some = absl::MakeConstSpan(pieces).subspan(i, at_once);
    status = PrepareAll(some);
    for (const std::unique_ptr<PieceWrite>& piece : some) {
      if (status.ok()) status = Commit(piece.get());
      Discard(piece.get());
    }
  }
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    status = OutOfMemory("write", offset, data.size(),
                         HasReason(status, reason::kVolumeMemoryLimit));
  }
  return status;
}

absl::Status VolumeCore::Write(uint64_t offset, absl::Span<const char> data) {
  const int64_t began_ns = SteadyNowNs();
  absl::Status status = CheckRange("write", offset, data.size());
  if (status.ok()) status = CheckWritable("write");
  if (status.ok() && data.size() > kMaxDataBytes) {
    status = InvalidField(
        "data",
        absl::StrCat("a write of ", data.size(), " bytes is longer than ",
                     kMaxDataBytes, "; cut it"),
        reason::kTooMuchData);
  }
  if (status.ok()) status = WritePieces(offset, data);
  Throttle();
  return Count(Operation::kWrite, SteadyNowNs() - began_ns, data.size(),
               std::move(status));
}

}  // namespace ramvol::engine
