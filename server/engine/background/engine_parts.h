// What the volumes of an engine share, and what the parts of one volume share.
#ifndef RAMVOL_SERVER_ENGINE_BACKGROUND_ENGINE_PARTS_H_
#define RAMVOL_SERVER_ENGINE_BACKGROUND_ENGINE_PARTS_H_

#include "server/engine/background/work_queue.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/content/content.h"
#include "server/engine/content/hot_cache.h"
#include "server/engine/content/packing_policy.h"
#include "server/engine/counters/totals.h"
#include "server/engine/counters/volume_counters.h"
#include "server/engine/memory/account.h"
#include "server/engine/memory/arena.h"
#include "server/engine/memory/slab_evacuator.h"

namespace ramvol::engine {

// References to thread-safe objects that outlive all volumes.
struct EngineParts {
  Arena& arena;
  HotCache& hot;
  WorkQueue& work;
  Totals& totals;
  SlabEvacuator& evacuator;
};

// The same for the parts of one volume. Each part keeps a copy, which only
// holds references.
struct VolumeParts {
  Arena& arena;
  HotCache& hot;
  WorkQueue& work;
  SlabEvacuator& evacuator;
  // The volume, as queues and background threads see it.
  ChunkOwner& owner;
  const PackingPolicy& packing;
  Account& account;
  Content& content;
  VolumeCounters& counters;

  Totals& totals() const { return counters.totals(); }
  // Asks background threads to rewrite the chunk's frames.
  void AskToRewrite(uint64_t chunk, RewriteReason reason) const {
    work.Push({owner.weak_from_this(), chunk, reason});
  }
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_BACKGROUND_ENGINE_PARTS_H_
