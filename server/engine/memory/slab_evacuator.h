// Gives back what is free inside slabs, by moving what lives in them together.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_SLAB_EVACUATOR_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_SLAB_EVACUATOR_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "server/engine/memory/arena.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/memory/slab_tenant.h"

namespace ramvol::engine {

// Works in rounds. A round visits all parts of all tenants, a part a step, in
// the threads that call Step: background threads when slack has grown, and
// writers that find no room. After a round that gained little no other begins
// before slack has grown again, so that a full server does not search for what
// is not there. A tight round takes the place of a light one.
//
// Thread-safe. Borrows `arena`, which must outlive it. Its lock is taken before
// those of a tenant, and is not held while anything is moved.
class SlabEvacuator {
 public:
  using TenantList = std::function<std::vector<std::weak_ptr<SlabTenant>>()>;

  // `list_tenants` is called with no lock held.
  SlabEvacuator(Arena& arena, TenantList list_tenants);

  SlabEvacuator(const SlabEvacuator&) = delete;
  SlabEvacuator& operator=(const SlabEvacuator&) = delete;

  // Whether a round is under way or worth beginning.
  bool HasWork(Evacuation how);
  // Visits one part; false when there is nothing to do.
  bool Step(Evacuation how);
  // What background threads owe: steps until slack is low, and if merging lacks
  // room for `bytes`, until it has that. False when it has not.
  bool KeepUp(uint64_t bytes);
  // Rounds that have ended. Whoever waits for the second one after this has
  // seen a whole one.
  uint64_t rounds() const { return rounds_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kKinds = 2;  // Of Evacuation.

  struct Place {
    std::shared_ptr<SlabTenant> tenant;  // nullptr: the round has ended.
    uint64_t key = 0;
  };

  // No round, or a light one where `how` is tight.
  bool MustBegin(Evacuation how) const;
  uint64_t GrowthForARound(Evacuation how) const;
  bool WorthARound(Evacuation how);
  // False when there is nothing to be had by one.
  bool BeginRound(Evacuation how) ABSL_LOCKS_EXCLUDED(mu_);
  void Settle(Evacuation how, uint64_t slack_bytes);
  Place TakeNext() ABSL_LOCKS_EXCLUDED(mu_);
  void EndRoundLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Arena& arena_;
  const TenantList list_tenants_;

  // Written under mu_, read by anyone.
  std::atomic<bool> in_round_{false};
  std::atomic<Evacuation> how_{Evacuation::kLight};
  std::atomic<uint64_t> rounds_{0};
  // By Evacuation: the least slack since the beginning of its last round, or 0
  // when that round gained enough for another.
  std::array<std::atomic<uint64_t>, kKinds> settled_bytes_ = {};

  Mutex mu_;
  std::vector<std::weak_ptr<SlabTenant>> tenants_ ABSL_GUARDED_BY(mu_);
  // Where the round goes on.
  size_t tenant_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t key_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t first_slack_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t least_slack_bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_SLAB_EVACUATOR_H_
