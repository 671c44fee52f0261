// Gives back what is free inside slabs, by moving the frames in them together.
#ifndef RAMVOL_SERVER_ENGINE_COMPACTOR_H_
#define RAMVOL_SERVER_ENGINE_COMPACTOR_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "proto/base/mutex.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/memory/arena.h"
#include "server/engine/memory/memory_types.h"

namespace ramvol::engine {

// Compacts in rounds. A round visits all leaves of all volumes, a leaf a step,
// in the threads that call Step: background threads when slack has grown, and
// writers that find no room. After a round that gained little no other begins
// before slack has grown again, so that a full server does not search for what
// is not there. A tight round takes the place of a light one.
//
// Thread-safe. Borrows `arena`, which must outlive it. Its lock is taken before
// an index's, and is not held while anything is moved.
class Compactor {
 public:
  using OwnerList = std::function<std::vector<std::weak_ptr<ChunkOwner>>()>;

  // `list_owners` is called with no lock held.
  Compactor(Arena& arena, OwnerList list_owners);

  Compactor(const Compactor&) = delete;
  Compactor& operator=(const Compactor&) = delete;

  // Whether a round is under way or worth beginning.
  bool HasWork(Compaction how);
  // Visits one leaf; false when there is nothing to do.
  bool Step(Compaction how);
  // What background threads owe: steps until slack is low, and if merging lacks
  // room for `bytes`, until it has that. False when it has not.
  bool KeepUp(uint64_t bytes);
  // Rounds that have ended. Whoever waits for the second one after this has
  // seen a whole one.
  uint64_t rounds() const { return rounds_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kKinds = 2;  // Of Compaction.

  struct Place {
    std::shared_ptr<ChunkOwner> owner;  // nullptr: the round has ended.
    uint64_t chunk = 0;
  };

  // No round, or a light one where `how` is tight.
  bool MustBegin(Compaction how) const;
  uint64_t GrowthForARound(Compaction how) const;
  bool WorthARound(Compaction how);
  // False when there is nothing to be had by one.
  bool BeginRound(Compaction how) ABSL_LOCKS_EXCLUDED(mu_);
  void Settle(Compaction how, uint64_t slack_bytes);
  Place TakeNext() ABSL_LOCKS_EXCLUDED(mu_);
  void EndRoundLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Arena& arena_;
  const OwnerList list_owners_;

  // Written under mu_, read by anyone.
  std::atomic<bool> in_round_{false};
  std::atomic<Compaction> how_{Compaction::kLight};
  std::atomic<uint64_t> rounds_{0};
  // By Compaction: the least slack since the beginning of its last round, or 0
  // when that round gained enough for another.
  std::array<std::atomic<uint64_t>, kKinds> settled_bytes_ = {};

  Mutex mu_;
  std::vector<std::weak_ptr<ChunkOwner>> owners_ ABSL_GUARDED_BY(mu_);
  // Where the round goes on.
  size_t owner_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t chunk_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t first_slack_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t least_slack_bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_COMPACTOR_H_
