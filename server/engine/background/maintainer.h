// The background threads.
#ifndef RAMVOL_SERVER_ENGINE_BACKGROUND_MAINTAINER_H_
#define RAMVOL_SERVER_ENGINE_BACKGROUND_MAINTAINER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/background/engine_parts.h"
#include "server/engine/background/work_queue.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/content/hot_cache.h"

namespace ramvol::engine {

// Helps with long writes, compresses dirty blocks before writers have to wait
// for it, makes frames anew where that was asked for, and, on one of its
// threads, visits all chunks from time to time to merge what is cold. While
// volumes are in use it spends at most a quarter of that thread on merging.
//
// Borrows `parts`, which must outlive it.
class Maintainer {
 public:
  using OwnerList = std::function<std::vector<std::weak_ptr<ChunkOwner>>()>;

  // `list_owners` is called from its threads, with no lock held.
  Maintainer(const EngineParts& parts, OwnerList list_owners, int threads,
             absl::Duration merge_interval);
  // Stops and joins.
  ~Maintainer();

  // Compresses all that is dirty, in the calling thread.
  void FlushAll();
  // Visits all chunks; with `all_cold`, as if nobody had touched them.
  void MergePass(bool all_cold);

 private:
  void Run(bool merges);
  // Does one piece of work; false when there is none to do.
  bool Step(bool idle);
  // Works, compressing whatever is dirty, until there is nothing to do or many
  // more than `dirtied_before` blocks have been dirtied.
  void FlushWhileQuiet(uint64_t dirtied_before);
  void Pace(const ChunkOwner& owner, uint64_t activity,
            absl::Duration work) const;

  const EngineParts parts_;
  const OwnerList list_owners_;
  const absl::Duration merge_interval_;
  std::vector<std::thread> threads_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_BACKGROUND_MAINTAINER_H_
