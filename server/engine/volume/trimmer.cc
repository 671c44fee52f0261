#include "server/engine/volume/trimmer.h"

#include <algorithm>

#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/content.h"
#include "server/engine/types/blocks.h"
#include "server/engine/volume/piece_write.h"

namespace ramvol::engine {
namespace {

constexpr char kZeroBytes[kChunkBytes] = {};

}  // namespace

Refusal Trimmer::Zero(uint64_t offset, uint64_t length, Leave leave) {
  StripedReaderLock whole(&parts_.content.whole_operations());
  return ZeroRange(offset, length, {.leave = leave});
}

Refusal Trimmer::ZeroRange(uint64_t offset, uint64_t length,
                           const Terms& terms) {
  const uint64_t end = offset + length;
  Refusal refusal;
  for (uint64_t at = offset; refusal.ok() && at < end;) {
    const uint64_t chunk = at / kChunkBytes;
    const size_t begin = at % kChunkBytes;
    const uint64_t last_whole =
        end / kChunkBytes;  // One past the last whole chunk.
    // Clears all whole chunks in one walk, which visits only those that exist.
    if (begin == 0 && chunk < last_whole && terms.leave == Leave::kHoles) {
      parts_.content.Clear(chunk, last_whole - 1);
      at = last_whole * kChunkBytes;
      continue;
    }
    const size_t piece_end =
        std::min<uint64_t>(kChunkBytes, begin + (end - at));
    refusal = ZeroPiece(chunk, begin, piece_end, terms);
    at += piece_end - begin;
  }
  return refusal;
}

Refusal Trimmer::ZeroPiece(uint64_t chunk, size_t begin, size_t end,
                           const Terms& terms) {
  PieceWrite piece(parts_.arena(), parts_.content.layer());
  piece.SetRange(chunk, begin, end);
  piece.data = kZeroBytes;
  piece.zero = terms.leave == Leave::kHoles ? Slot() : Slot::OfPattern(0);
  piece.check_end = terms.check_end;
  piece.must_succeed =
      terms.leave == Leave::kHoles || parts_.packing.reserves();
  Refusal refusal = pieces_.PrepareZeroes(&piece);
  if (refusal.ok()) refusal = pieces_.Commit(&piece);
  pieces_.Discard(&piece);
  if (piece.partial != 0 && !parts_.arena().HasRoom(0)) {
    // At the limit, a trim must not take more memory than it frees: compress
    // its new blocks, and rewrite the frames that held them before.
    if (const Home home = parts_.content.FindHome(chunk)) {
      parts_.engine.chunks.Flush(home);
      parts_.engine.chunks.Rewrite(home, RewriteReason::kAnyDead);
    }
  }
  return refusal;
}

void Trimmer::CutOff(uint64_t end, uint64_t old_end) {
  // The size is already smaller, so nothing is written past the end. The rest
  // of the last block comes last, because only that can fail: when the block is
  // damaged, which reads will report.
  const Terms terms{.leave = Leave::kHoles, .check_end = false};
  const uint64_t from = (end + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
  const uint64_t to = (old_end / kChunkBytes + 1) * kChunkBytes;
  ZeroRange(from, to - from, terms).Ignore();
  ZeroRange(end, from - end, terms).Ignore();
}

void Trimmer::CutOffRest(uint64_t end) {
  const uint64_t first_past = (end - 1) / kChunkBytes + 1;
  if (parts_.content.FindLeaf(first_past).has_value()) {
    CutOff(end, kMaxVolumeBytes);
    return;
  }
  // Past the end within the last chunk.
  const size_t tail = end % kChunkBytes;
  if (tail == 0) return;
  ChunkRefs refs(parts_.arena());
  char content[kChunkBytes];
  ReadCost cost(parts_.totals().decompressions);
  const bool zero =
      parts_.content
          .Take(end / kChunkBytes, 0, BlocksIn(tail, kChunkBytes), &refs)
          .ok() &&
      refs.Copy(tail, kChunkBytes, content, &cost) &&
      std::all_of(content, content + (kChunkBytes - tail),
                  [](char byte) { return byte == 0; });
  if (!zero) CutOff(end, end);
}

}  // namespace ramvol::engine
