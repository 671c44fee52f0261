// Frees space inside slabs by moving live objects together.
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

// Works in rounds. A round visits all parts of all tenants, one part in each
// step. The threads that call Step do the work: background threads when slack
// has grown, and writers that find no room. After a round that gained little,
// the next begins only when slack has grown again, so that a full server does
// not search in vain. A tight round replaces a light one.
//
// Thread-safe. Borrows `arena`, which must outlive it. Lock order: its lock
// comes before a tenant's, and is not held while objects are moved.
class SlabEvacuator {
 public:
  using TenantList = std::function<std::vector<std::weak_ptr<SlabTenant>>()>;

  // Calls `list_tenants` without holding a lock.
  SlabEvacuator(Arena& arena, TenantList list_tenants);

  SlabEvacuator(const SlabEvacuator&) = delete;
  SlabEvacuator& operator=(const SlabEvacuator&) = delete;

  // Whether a round is under way or worth beginning.
  bool HasWork(Evacuation how);
  // Visits one part. False when no round is worth it.
  bool Step(Evacuation how);
  // For background threads: steps until slack is low and merging has room for
  // `bytes`. False when no such room can be made.
  bool KeepUp(uint64_t bytes);
  // For background threads while nobody uses the tenants: steps until slack is
  // as low as moving makes it, and not only until it is no hindrance.
  void Tighten();
  // Rounds that have ended. When two more have ended, one of them was a whole
  // round.
  uint64_t rounds() const { return rounds_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kKinds = 2;  // Values of Evacuation.

  struct Place {
    std::shared_ptr<SlabTenant> tenant;  // nullptr when the round has ended.
    uint64_t key = 0;
  };

  // Whether there is no round, or only a light one and `how` is tight.
  bool MustBegin(Evacuation how) const;
  uint64_t GrowthForARound(Evacuation how) const;
  bool WorthARound(Evacuation how);
  // False when no slab can be emptied.
  bool BeginRound(Evacuation how) ABSL_LOCKS_EXCLUDED(mu_);
  void Settle(Evacuation how, uint64_t slack_bytes);
  Place TakeNext() ABSL_LOCKS_EXCLUDED(mu_);
  void EndRoundLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Arena& arena_;
  const TenantList list_tenants_;

  // Written under mu_, read without it.
  std::atomic<bool> in_round_{false};
  std::atomic<Evacuation> how_{Evacuation::kLight};
  std::atomic<uint64_t> rounds_{0};
  // For each Evacuation: the least slack since its last round began, or 0 when
  // that round gained enough for another.
  std::array<std::atomic<uint64_t>, kKinds> settled_bytes_ = {};

  Mutex mu_;
  std::vector<std::weak_ptr<SlabTenant>> tenants_ ABSL_GUARDED_BY(mu_);
  // Where the round continues.
  size_t tenant_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t key_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t first_slack_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t least_slack_bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_SLAB_EVACUATOR_H_
