// What the volumes of an engine share, and what the parts of one volume share.
#ifndef RAMVOL_SERVER_ENGINE_BACKGROUND_ENGINE_PARTS_H_
#define RAMVOL_SERVER_ENGINE_BACKGROUND_ENGINE_PARTS_H_

#include <cstdint>
#include <optional>
#include <utility>

#include "server/engine/background/chunk_worker.h"
#include "server/engine/background/work_queue.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/content/content.h"
#include "server/engine/content/home.h"
#include "server/engine/content/hot_cache.h"
#include "server/engine/content/packing_policy.h"
#include "server/engine/content/refusal.h"
#include "server/engine/counters/totals.h"
#include "server/engine/counters/volume_counters.h"
#include "server/engine/memory/arena.h"
#include "server/engine/memory/slab_evacuator.h"

namespace ramvol::engine {

class Outside;

// Reads in chunks of a volume that are outside (Frame::outside). Thread-safe.
class OutsideReader {
 public:
  // kCorrupt when the chunk cannot be had; OK when it is not outside.
  virtual Refusal Load(uint64_t chunk) = 0;

 protected:
  ~OutsideReader() = default;
};

// References to thread-safe objects that outlive all volumes.
struct EngineParts {
  Arena& arena;
  HotCache& hot;
  WorkQueue& work;
  Totals& totals;
  SlabEvacuator& evacuator;
  ChunkWorker& chunks;
  Outside* outside = nullptr;  // Only parts in volume/ use it.

  // Carries out the oldest request of the queue; false when there is none.
  bool RunOneRequest() const {
    std::optional<RewriteRequest> request = work.Pop();
    if (request.has_value()) chunks.Rewrite(request->home, request->reason);
    return request.has_value();
  }
};

// The same for the parts of one volume. Each part keeps a copy, which only
// holds references.
struct VolumeParts {
  EngineParts engine;
  const PackingPolicy& packing;
  Content& content;
  VolumeCounters& counters;
  OutsideReader* outside_reader = nullptr;

  Arena& arena() const { return engine.arena; }
  HotCache& hot() const { return engine.hot; }
  Totals& totals() const { return engine.totals; }
  // Whoever meets a frame that is outside, calls this and looks again.
  Refusal Load(uint64_t chunk) const {
    return outside_reader == nullptr ? Refusal{Cause::kUnread, chunk}
                                     : outside_reader->Load(chunk);
  }
  // Asks background threads to rewrite the chunk's frames.
  void AskToRewrite(uint64_t chunk, RewriteReason reason) const {
    Home home = content.FindHome(chunk);
    if (home) engine.work.Push({std::move(home), reason});
  }
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_BACKGROUND_ENGINE_PARTS_H_
