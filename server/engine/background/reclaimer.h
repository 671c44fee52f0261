// Who gives memory back when it is short, so that a request of one volume finds
// room: what is cached of this and other volumes, and what is free in slabs.
#ifndef RAMVOL_SERVER_ENGINE_BACKGROUND_RECLAIMER_H_
#define RAMVOL_SERVER_ENGINE_BACKGROUND_RECLAIMER_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "server/engine/background/engine_parts.h"
#include "server/engine/content/refusal.h"
#include "server/engine/memory/memory_types.h"

namespace ramvol::engine {

// Works in the thread of the request. Two limits can refuse memory. When it is
// the volume's own, only the volume's blocks are looked at; when it is the
// server's, those of all volumes are, the least useful first.
//
// A call takes memory back until there is enough, and ends at the latest when
// it has seen what there was when it began: in each of two rounds it compresses
// and drops each block that is cached at most once, serves a full queue of
// requests, and has slabs emptied for as long as that is worth it. What others
// put in meanwhile is theirs to take out.
//
// Thread-safe; holds no state of its own. Callers hold no lock that a read,
// write or trim takes.
class Reclaimer {
 public:
  explicit Reclaimer(const VolumeParts& parts) : parts_(parts) {}

  // After an allocation of up to `bytes` failed: takes memory back until there
  // is room for them; false when there will not be.
  bool MakeRoom(uint64_t bytes);
  // The same before an allocation: does nothing when there is room already.
  bool FindRoom(uint64_t bytes);
  // Sees to it that `bytes` can be reserved, if that is possible at all:
  // nobody's cache is emptied for what would not fit then either.
  void PrepareToReserve(uint64_t bytes);
  // A page of the volume's, or 0. With `must_succeed` it is taken beyond the
  // limit rather than not at all.
  PageId NewPage(bool must_succeed);
  // Which limit refuses. Call this before freeing anything: it checks which of
  // the two has no room.
  Refusal OutOfMemory() const;

  // Brings the cache back to its capacity, some blocks at a time.
  void EvictSome();
  // The same, and compresses a chunk when too much is dirty: it slows writers
  // down to the pace of compressing. For the end of every write.
  void Throttle();

 private:
  // Takes memory back until enough() says so; false when no more is to be had.
  // An allocation of up to `bytes` has failed.
  bool Reclaim(uint64_t bytes, absl::FunctionRef<bool()> enough);
  // Does one step of that in the caches; false when there is none left to do.
  bool ReclaimFromCache(uint64_t bytes);
  // What a round may do: see the .cc file.
  uint64_t StepsInARound(bool own_limit) const;

  const VolumeParts parts_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_BACKGROUND_RECLAIMER_H_
