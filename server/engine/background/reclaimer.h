// Frees memory for a request when it is short: from the caches of this and
// other volumes, and from free space in slabs.
#ifndef RAMVOL_SERVER_ENGINE_BACKGROUND_RECLAIMER_H_
#define RAMVOL_SERVER_ENGINE_BACKGROUND_RECLAIMER_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "server/engine/background/engine_parts.h"
#include "server/engine/content/layer.h"
#include "server/engine/content/refusal.h"
#include "server/engine/memory/memory_types.h"

namespace ramvol::engine {

// Works on the thread of the request, for the layer that the request charges.
// Two limits can refuse memory. At the volume's own limit, only the volume's
// blocks are considered; at the server's limit, those of all volumes, the least
// useful first.
//
// A call frees memory until there is enough. Its work is bounded by what there
// was when it began: in each of two rounds, it compresses and drops each cached
// block at most once, serves at most one full queue of rewrite requests, and
// empties slabs while that is worth it. Blocks that others cache meanwhile are
// not its task.
//
// Thread-safe and stateless. Callers must not hold a lock that a read, write or
// trim takes.
class Reclaimer {
 public:
  explicit Reclaimer(const EngineParts& parts) : parts_(parts) {}

  // Call this after an allocation of up to `bytes` failed. Frees memory until
  // `bytes` fit; false when that is impossible.
  bool MakeRoom(Layer& layer, uint64_t bytes);
  // The same before an allocation: does nothing when there is already room.
  bool FindRoom(Layer& layer, uint64_t bytes);
  // Makes room for a reservation of `bytes`. Does nothing if they would not fit
  // even with all caches empty.
  void PrepareToReserve(Layer& layer, uint64_t bytes);
  // A new page, charged to the volume, or 0. With `must_succeed`, exceeds the
  // limit rather than fail.
  PageId NewPage(Layer& layer, bool must_succeed);
  // Tells which limit refuses. Call this before freeing anything: it checks
  // which of the two has no room.
  Refusal OutOfMemory(const Layer& layer) const;

  // Drops some clean blocks if the cache is over its capacity.
  void EvictSome();
  // The same, and compresses a chunk if too many blocks are dirty. Every write
  // ends with this, which slows writers down to the pace of compression.
  void Throttle();

 private:
  // Frees memory until enough() is true; false when no more can be freed. Call
  // this after an allocation of up to `bytes` failed.
  bool Reclaim(Layer& layer, uint64_t bytes, absl::FunctionRef<bool()> enough);
  // Frees memory in the caches by one step; false when nothing is left.
  bool ReclaimFromCache(Layer& layer, uint64_t bytes);
  // The bound of a round's steps; the .cc file has the reasoning.
  uint64_t StepsInARound(const Layer& layer, bool own_limit) const;

  const EngineParts parts_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_BACKGROUND_RECLAIMER_H_
