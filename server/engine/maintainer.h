// The background threads.
#ifndef RAMVOL_SERVER_ENGINE_MAINTAINER_H_
#define RAMVOL_SERVER_ENGINE_MAINTAINER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/content/hot_cache.h"
#include "server/engine/volume_core.h"
#include "server/engine/work_queue.h"

namespace ramvol::engine {

// Helps with long writes, compresses dirty blocks before writers have to wait
// for it, makes frames anew
// where that was asked for, and, on one of its threads, visits all chunks from
// time to time to merge what is cold. While volumes are in use it spends at
// most a quarter of that thread on merging.
//
// Borrows `shared`, which must outlive it.
class Maintainer {
 public:
  using VolumeList = std::function<std::vector<std::weak_ptr<VolumeCore>>()>;

  // `list_volumes` is called from its threads, with no lock held.
  Maintainer(const Shared& shared, VolumeList list_volumes, int threads,
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
  void Pace(const VolumeCore& volume, uint64_t activity,
            absl::Duration work) const;

  const Shared shared_;
  const VolumeList list_volumes_;
  const absl::Duration merge_interval_;
  std::vector<std::thread> threads_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MAINTAINER_H_
