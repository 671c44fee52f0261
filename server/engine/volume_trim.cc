// Trimming, zeroing and resizing.
#include <algorithm>
#include <bit>
#include <memory>
#include <utility>

#include "proto/base/clock.h"
#include "server/engine/piece_write.h"
#include "server/engine/volume_core.h"

namespace ramvol::engine {
namespace {

constexpr char kZeroes[kChunkBytes] = {};
// Emptied leaves that may stay behind before the index is pruned.
constexpr int kMaxEmptied = 256;

}  // namespace

absl::Status VolumeCore::ZeroPiece(uint64_t chunk, size_t begin, size_t end,
                                   Slot fill, bool check_end) {
  PieceWrite piece(shared_.arena);
  piece.SetRange(chunk, begin, end);
  piece.data = kZeroes;
  piece.zero = fill;
  piece.check_end = check_end;
  piece.must_succeed =
      fill.kind == SlotKind::kHole || options_.allocator == Allocator::kMalloc;
  absl::Status status =
      TakeRefs(chunk, piece.partial, check_end ? piece.EndOffset() : 0, false,
               &piece.base);
  if (!status.ok()) return status;
  for (const int block : Bits(piece.touched & ~piece.partial)) {
    piece.fresh[block] = fill;
  }
  if (!piece.must_succeed) status = Admit("write of zeroes", 1);
  if (status.ok()) status = PreparePartial(&piece);
  if (status.ok()) status = Commit(&piece);
  Discard(&piece);
  if (piece.partial != 0 && !shared_.arena.HasRoom(0)) {
    // At the limit a trim may not leave more behind than there was: its new
    // blocks are compressed, and what their old frames still hold is, too.
    FlushChunk(chunk);
    RewriteChunk(chunk, RewriteReason::kAnyDead);
  }
  return status;
}

absl::Status VolumeCore::ZeroRange(uint64_t offset, uint64_t length, Slot fill,
                                   bool check_end) {
  const uint64_t end = offset + length;
  absl::Status status;
  for (uint64_t at = offset; status.ok() && at < end;) {
    const uint64_t chunk = at / kChunkBytes;
    const size_t begin = at % kChunkBytes;
    const uint64_t last_whole = end / kChunkBytes;  // One past.
    if (begin == 0 && chunk < last_whole && fill.kind == SlotKind::kHole) {
      ClearChunks(chunk, last_whole - 1);
      at = last_whole * kChunkBytes;
      continue;
    }
    const size_t piece_end =
        std::min<uint64_t>(kChunkBytes, begin + (end - at));
    status = ZeroPiece(chunk, begin, piece_end, fill, check_end);
    at += piece_end - begin;
  }
  return status;
}

void VolumeCore::ClearChunks(uint64_t first, uint64_t last) {
  Dropped dropped;
  uint64_t prune_from = first;
  int emptied = 0;
  for (uint64_t next = first; next <= last;) {
    {
      StripedReaderLock index_lock(&index_.lock());
      const std::optional<Index::Position> position = index_.FindFrom(next);
      if (!position.has_value() || position->first_chunk > last) break;
      Leaf* leaf = position->leaf;
      const uint64_t from = std::max(next, position->first_chunk);
      next = position->first_chunk + kFanout;
      for (uint64_t chunk = from; chunk < next && chunk <= last; ++chunk) {
        MutexLock lock(&leaf->mu);
        if (leaf->entries[chunk % kFanout] == 0) continue;
        ClearEntryLocked(leaf, chunk, &dropped);
        if (leaf->present == 0) ++emptied;
      }
    }
    Free(next, &dropped);
    if (emptied < kMaxEmptied) continue;
    StripedWriterLock index_lock(&index_.lock());
    index_.Prune(prune_from, std::min(next - 1, last));
    prune_from = next;
    emptied = 0;
  }
  if (emptied == 0) return;
  StripedWriterLock index_lock(&index_.lock());
  index_.Prune(prune_from, last);
}

absl::Status VolumeCore::Trim(uint64_t offset, uint64_t length) {
  const int64_t began_ns = SteadyNowNs();
  absl::Status status = CheckRange("trim", offset, length);
  if (status.ok()) status = CheckWritable("trim");
  if (status.ok()) status = ZeroRange(offset, length, Slot(), true);
  return Count(Operation::kTrim, SteadyNowNs() - began_ns, length,
               std::move(status));
}

absl::Status VolumeCore::WriteZeroes(uint64_t offset, uint64_t length,
                                     bool no_hole) {
  const int64_t began_ns = SteadyNowNs();
  absl::Status status = CheckRange("write of zeroes", offset, length);
  if (status.ok()) status = CheckWritable("write of zeroes");
  if (status.ok()) {
    status =
        ZeroRange(offset, length, no_hole ? Slot::OfPattern(0) : Slot(), true);
  }
  return Count(Operation::kWriteZeroes, SteadyNowNs() - began_ns, length,
               std::move(status));
}

void VolumeCore::CutOff(uint64_t end, uint64_t old_end) {
  // Nothing new comes in past the end, so what is there can go: the rest of the
  // end's block last, as that is the only step that can fail. When it does, the
  // block is damaged, and reads say so.
  const uint64_t from = (end + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
  const uint64_t to = (old_end / kChunkBytes + 1) * kChunkBytes;
  ZeroRange(from, to - from, Slot(), false).IgnoreError();
  ZeroRange(end, from - end, Slot(), false).IgnoreError();
}

absl::Status VolumeCore::SetSize(uint64_t size_bytes, bool if_unattached) {
  StripedWriterLock index_lock(&index_.lock());
  if (if_unattached) {
    absl::Status unattached = CheckUnattached();
    if (!unattached.ok()) return unattached;
  }
  index_.Grow((size_bytes - 1) / kChunkBytes + 1);
  size_bytes_.store(size_bytes, std::memory_order_release);
  return absl::OkStatus();
}

absl::Status VolumeCore::Resize(uint64_t size_bytes, bool if_unattached) {
  const uint64_t old_size = this->size_bytes();
  const uint64_t old_reservation = ReservationFor(old_size);
  const uint64_t new_reservation = ReservationFor(size_bytes);
  if (new_reservation > old_reservation) {
    const uint64_t bytes = new_reservation - old_reservation;
    MakeRoomToReserve(bytes);
    if (!account_.GrowReservation(bytes)) {
      return OutOfMemory("growth", old_size, size_bytes - old_size);
    }
  }
  absl::Status set = SetSize(size_bytes, if_unattached);
  if (!set.ok()) {
    if (new_reservation > old_reservation) {
      account_.ShrinkReservation(new_reservation - old_reservation);
    }
    return set;
  }
  if (size_bytes < old_size) {
    CutOff(size_bytes, old_size);
    account_.ShrinkReservation(old_reservation - new_reservation);
  }
  return absl::OkStatus();
}

}  // namespace ramvol::engine
