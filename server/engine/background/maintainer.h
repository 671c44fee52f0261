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

// The threads help with long writes, compress dirty blocks before writers have
// to, and rewrite frames on request. One of them also visits all chunks from
// time to time and merges cold ones. While volumes are in use, it spends at
// most a quarter of its time on merging.
//
// Borrows `parts`, which must outlive it.
class Maintainer {
 public:
  using OwnerList = std::function<std::vector<std::weak_ptr<ChunkOwner>>()>;

  // `list_owners` is called from its threads, with no lock held.
  Maintainer(const EngineParts& parts, OwnerList list_owners, int threads,
             absl::Duration merge_interval);
  // Stops and joins the threads.
  ~Maintainer();

  // Compresses all dirty blocks, on the calling thread.
  void FlushAll();
  // Visits and merges all chunks. With `all_cold`, treats all of them as cold.
  // When nobody used a volume meanwhile, also moves frames together.
  void MergePass(bool all_cold);

 private:
  void Run(bool merges);
  // Does one unit of work; false when there is none.
  bool Step(bool idle);
  // Works, and compresses even recently dirtied blocks, until nothing is left
  // to do or writers are no longer quiet. `dirtied_before` is the count of
  // dirtied blocks at the start.
  void FlushWhileQuiet(uint64_t dirtied_before);
  // What the owners did so far, in all.
  static uint64_t Activity(
      const std::vector<std::weak_ptr<ChunkOwner>>& owners);
  // Sleeps three times as long as `work` took, if the owner was used meanwhile.
  void Pace(const ChunkOwner& owner, uint64_t activity,
            absl::Duration work) const;

  const EngineParts parts_;
  const OwnerList list_owners_;
  const absl::Duration merge_interval_;
  std::atomic<uint32_t> passes_{0};
  std::vector<std::thread> threads_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_BACKGROUND_MAINTAINER_H_
