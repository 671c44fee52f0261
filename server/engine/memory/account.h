// What one volume takes from the arena, and its own limit.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_ACCOUNT_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_ACCOUNT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "server/engine/memory/arena.h"

namespace ramvol::engine {

// Every page and object of a volume is had and given back through its Account.
// A charge lasts from the allocation until the volume lets go; a reader may
// keep the memory itself a moment longer.
//
// A reserved account (of a kMalloc volume) took its whole need out of the
// arena's limit beforehand; what it allocates comes out of that first.
//
// Thread-safe. Borrows `arena`, which must outlive it.
class Account {
 public:
  Account(Arena& arena, uint64_t limit_bytes)
      : arena_(arena), limit_bytes_(limit_bytes) {}
  // Gives the reservation back. All else must have been freed.
  ~Account();

  Account(const Account&) = delete;
  Account& operator=(const Account&) = delete;

  // A page with one reference and unspecified content; 0 at the account's or
  // the arena's limit.
  PageId NewPage(Priority priority);
  // Takes a page's charge off and drops one reference.
  void FreePage(PageId page);

  // As Arena::Allocate and Free; nullptr at either limit.
  void* New(size_t bytes, Priority priority);
  void Delete(void* object, size_t bytes);

  // Takes a charge off without freeing; for counted objects, which the last
  // holder frees.
  void Uncharge(uint64_t bytes);

  // True when `bytes` more could be charged now. For admission of what is
  // allocated later at Priority::kGuaranteed.
  bool HasRoom(uint64_t bytes) const;
  // To be asked when an allocation of up to `bytes` failed: true when that was
  // for the account's own limit, not the arena's.
  bool OwnLimitRefuses(uint64_t bytes) const;

  // Changes the reservation by taking more out of the arena's limit (false at
  // the limit, nothing changed) or giving some back.
  bool GrowReservation(uint64_t bytes);
  void ShrinkReservation(uint64_t bytes);

  // 0: no limit.
  uint64_t limit_bytes() const {
    return limit_bytes_.load(std::memory_order_relaxed);
  }
  void set_limit_bytes(uint64_t limit) {
    limit_bytes_.store(limit, std::memory_order_relaxed);
  }
  // All charges and what is left of the reservation.
  uint64_t used_bytes() const;

  Arena& arena() const { return arena_; }

 private:
  // Charges `bytes`; `*drawn` of them come out of the reservation.
  bool Charge(uint64_t bytes, Priority priority, uint64_t* drawn);
  void UndoCharge(uint64_t bytes, uint64_t drawn);
  bool AtOwnLimit(uint64_t bytes) const;
  bool ArenaHasRoom(uint64_t bytes) const;
  // What is promised and has no memory behind it.
  uint64_t UnusedReservation() const;

  Arena& arena_;
  std::atomic<uint64_t> limit_bytes_;
  std::atomic<uint64_t> charged_bytes_{0};

  // Only an account that reserves takes the lock to charge: its charges and its
  // reservation have to change together.
  std::atomic<bool> reserves_{false};
  mutable Mutex mu_;
  // What is reserved in all, and what of that is charged.
  uint64_t promised_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t drawn_bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_ACCOUNT_H_
