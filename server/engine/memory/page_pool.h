// Single pages with reference counts.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_PAGE_POOL_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_PAGE_POOL_H_

#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "server/engine/memory/memory_account.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/memory/unit_table.h"
#include "server/engine/memory/units_by_fullness.h"

namespace ramvol::engine {

// Hands out pages of units of its own, always from the fullest unit. Retained
// ones cost neither a charge nor a page fault. Several pools can share a table,
// so that not all threads wait for one lock.
//
// Thread-safe. Borrows `units` and `account`.
class PagePool {
 public:
  // `owner` marks the pool's units: see Unit::owner.
  PagePool(uint8_t owner, UnitTable* units, MemoryAccount* account)
      : owner_(owner),
        units_(*units),
        account_(*account),
        partial_(0, units),
        retaining_(1, units) {}

  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  // A page with one reference that was retained; 0 when none is, or when the
  // account refuses `priority`.
  PageId AllocateRetained(Priority priority);
  // A page with one reference that is not resident yet; 0 when it cannot be
  // charged.
  PageId AllocateFresh(Priority priority);
  void Ref(PageId page);
  // Retains the page with its last reference.
  void Unref(PageId page);

  // Gives retained pages back, emptiest units first, until the account's
  // retained bytes are at most `retained_bytes` or the pool has none left.
  void ReleaseDownTo(uint64_t retained_bytes);

  uint64_t allocated_bytes() const {
    return allocated_pages_.load(std::memory_order_relaxed) * kPageBytes;
  }

 private:
  // Hands out the lowest page in `candidates`.
  PageId OccupyLocked(UnitId id, uint64_t candidates)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RelistLocked(UnitId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Free(PageId page);
  // Gives back what one unit retains; false when none retains any, or when the
  // kernel refuses.
  bool ReleaseOneUnit();
  // Marks what some unit retains as releasing. Returns 0 when none does.
  UnitId StartRelease(uint64_t* mask);
  void FinishRelease(UnitId id, uint64_t mask, bool given_back);

  const uint8_t owner_;

  // Synchronise themselves.
  UnitTable& units_;
  MemoryAccount& account_;
  // Written under mu_, read by anyone.
  std::atomic<uint64_t> allocated_pages_{0};
  std::atomic<bool> retains_{false};

  // Guards the entries of its units, too.
  Mutex mu_;
  // Units with free pages, and those of which some are retained.
  UnitsByFullness partial_ ABSL_GUARDED_BY(mu_);
  UnitsByFullness retaining_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_PAGE_POOL_H_
