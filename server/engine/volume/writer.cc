#include "server/engine/volume/writer.h"

#include <algorithm>
#include <atomic>
#include <optional>

#include "absl/container/inlined_vector.h"
#include "base/mutex.h"
#include "server/engine/content/content.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {
namespace {

// For writes of this many chunks (512 KiB) or more, it is worth waking
// background threads to help with compressing.
constexpr size_t kMinSharedPieces = 8;

}  // namespace

Refusal Writer::Write(uint64_t offset, absl::Span<const char> data,
                      BufferOf whose) {
  const bool reserved = parts_.packing.reserves();
  const std::shared_ptr<Layer> layer = parts_.content.layer();
  absl::InlinedVector<std::unique_ptr<PieceWrite>, 1> pieces;
  for (size_t done = 0; done < data.size();) {
    const size_t begin = (offset + done) % kChunkBytes;
    const size_t length = std::min(kChunkBytes - begin, data.size() - done);
    auto piece = std::make_unique<PieceWrite>(parts_.arena(), layer);
    piece->SetRange((offset + done) / kChunkBytes, begin, begin + length);
    piece->data = data.data() + done;
    piece->whose = whose;
    piece->must_succeed = reserved;
    piece->max_span = parts_.packing.write_span(data.size());
    pieces.push_back(std::move(piece));
    done += length;
  }
  // The reservation has little room for new content beside the old, so a
  // reserved volume prepares and commits chunk by chunk. That cannot fail
  // halfway, because its memory cannot be refused.
  const size_t at_once = reserved ? 1 : pieces.size();
  Refusal refusal;
  std::optional<StripedReaderLock> whole;
  if (reserved && pieces.size() > 1) {
    whole.emplace(&parts_.content.whole_operations());
  }
  for (size_t i = 0; refusal.ok() && i < pieces.size(); i += at_once) {
    const auto some = absl::MakeConstSpan(pieces).subspan(i, at_once);
    refusal = PrepareAll(some);
    if (some.size() > 1) whole.emplace(&parts_.content.whole_operations());
    for (const std::unique_ptr<PieceWrite>& piece : some) {
      if (refusal.ok()) refusal = pieces_.Commit(piece.get());
      pieces_.Discard(piece.get());
    }
  }
  return refusal;
}

Refusal Writer::PrepareAll(
    absl::Span<const std::unique_ptr<PieceWrite>> pieces) {
  Mutex mu;
  Refusal first_refusal;
  std::atomic<bool> failed = false;
  const auto prepare = [&](size_t i) {
    // After one failure, the other pieces would only search for memory in vain.
    if (failed.load(std::memory_order_relaxed)) return;
    const Refusal refusal = pieces_.Prepare(pieces.size(), pieces[i].get());
    if (refusal.ok()) return;
    MutexLock lock(&mu);
    if (!failed.exchange(true)) first_refusal = refusal;
  };
  if (pieces.size() >= kMinSharedPieces) {
    parts_.engine.work.Share(pieces.size(), prepare);
  } else {
    for (size_t i = 0; i < pieces.size(); ++i) prepare(i);
  }
  return first_refusal;
}

}  // namespace ramvol::engine
