// The memory of one volume, and its own limit.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_ACCOUNT_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_ACCOUNT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "server/engine/memory/arena.h"

namespace ramvol::engine {

// A volume allocates and frees all pages and objects through its Account. A
// charge lasts until the volume frees the memory; a reader's reference may keep
// the memory itself a moment longer.
//
// A reserved account (of a kMalloc volume) takes its whole need out of the
// arena's limit beforehand. Its allocations use that reservation first.
//
// Thread-safe. Borrows `arena`, which must outlive it.
class Account {
 public:
  Account(Arena& arena, uint64_t limit_bytes)
      : arena_(arena), limit_bytes_(limit_bytes) {}
  // Gives the reservation back. Everything must have been freed.
  ~Account();

  Account(const Account&) = delete;
  Account& operator=(const Account&) = delete;

  // A page with one reference and unspecified content; 0 at either limit.
  PageId NewPage(Priority priority);
  // Drops one reference to a page, and takes off its charge unless it is
  // common.
  void FreePage(PageId page);

  // Like Arena::Allocate and Free; nullptr at either limit.
  void* New(size_t bytes, Priority priority);
  void Delete(void* object, size_t bytes);

  // Takes off a charge without freeing. For reference-counted objects, which
  // the last holder frees.
  void Uncharge(uint64_t bytes);

  // Moves the charge for `bytes`, which stay allocated, here from `other`. No
  // limit refuses that.
  void TakeCharge(uint64_t bytes, Account& other);

  // Charges `bytes` that are allocated already. No limit refuses that.
  void AdoptCharge(uint64_t bytes);

  // Whether `bytes` more could be charged now. Use this to admit what will be
  // allocated at Priority::kGuaranteed.
  bool HasRoom(uint64_t bytes) const;
  // Call this when an allocation of up to `bytes` failed. True when the
  // account's own limit refused it, not the arena's.
  bool OwnLimitRefuses(uint64_t bytes) const;

  // Changes the reservation. Growing returns false, without any change, at the
  // arena's limit.
  bool GrowReservation(uint64_t bytes, Priority priority = Priority::kNormal);
  void ShrinkReservation(uint64_t bytes);
  // Gives up the reservation: what is allocated stays charged.
  void EndReservation();
  // The part of the reservation that no allocation uses.
  uint64_t UnusedReservation() const;

  // 0: no limit.
  uint64_t limit_bytes() const {
    return limit_bytes_.load(std::memory_order_relaxed);
  }
  void set_limit_bytes(uint64_t limit) {
    limit_bytes_.store(limit, std::memory_order_relaxed);
  }
  // All charges, and the unused part of the reservation.
  uint64_t used_bytes() const;

  Arena& arena() const { return arena_; }

 private:
  // Charges `bytes`, of which `*drawn` come out of the reservation.
  bool Charge(uint64_t bytes, Priority priority, uint64_t* drawn);
  void UndoCharge(uint64_t bytes, uint64_t drawn);
  bool AtOwnLimit(uint64_t bytes) const;
  bool ArenaHasRoom(uint64_t bytes) const;

  Arena& arena_;
  std::atomic<uint64_t> limit_bytes_;
  std::atomic<uint64_t> charged_bytes_{0};

  // Only a reserved account takes the lock to charge: its charges and its
  // reservation must change together.
  std::atomic<bool> reserves_{false};
  mutable Mutex mu_;
  // The whole reservation, and its used part.
  uint64_t promised_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t drawn_bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_ACCOUNT_H_
