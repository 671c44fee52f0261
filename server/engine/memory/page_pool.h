// Allocates single pages with reference counts.
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

// Allocates pages in units of its own, always in the fullest unit. Retained
// pages need neither a charge nor a page fault. Several pools can share a
// table, so that threads do not all wait for one lock.
//
// Thread-safe. Borrows `units` and `account`.
class PagePool {
 public:
  // `owner` identifies the pool's units: see Unit::owner.
  PagePool(uint8_t owner, UnitTable* units, MemoryAccount* account)
      : owner_(owner),
        units_(*units),
        account_(*account),
        partial_(0, units),
        retaining_(1, units) {}

  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  // A retained page, with one reference; 0 when there is none, or when the
  // account refuses `priority`.
  PageId AllocateRetained(Priority priority);
  // A page that is not resident yet, with one reference; 0 when it cannot be
  // charged.
  PageId AllocateFresh(Priority priority);
  void Ref(PageId page);
  // Dropping the last reference retains the page.
  void Unref(PageId page);
  // See Arena::MarkCommon. False when it is marked already.
  bool MarkCommon(PageId page);
  bool IsCommon(PageId page) const;
  bool IsReferredToTwice(PageId page) const;

  // For Arena::ClaimPage: adds a reference. The unit was this pool's, and the
  // page is in the file.
  Claim ClaimPage(PageId page);
  // Puts a unit of which pages were claimed into use.
  void Adopt(UnitId id);

  // Releases retained pages, emptiest units first, until the account has at
  // most `retained_bytes` of them or the pool has none.
  void ReleaseDownTo(uint64_t retained_bytes);

  uint64_t allocated_bytes() const {
    return allocated_pages_.load(std::memory_order_relaxed) * kPageBytes;
  }

 private:
  // Pages that are being made resident. They are marked as releasing.
  struct Batch {
    UnitId unit = 0;  // 0: none.
    uint64_t pages = 0;
  };

  // AllocateFresh from a file: makes more than one page resident, if there is
  // room, and retains the others.
  PageId AllocateFromFile(Priority priority);
  // Charges a batch and marks it. When a unit has only retained pages, sets
  // `*page` to one of them instead.
  Batch StartBatchLocked(Priority priority, PageId* page)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // `filled`: all pages of the batch, its first, or 0. The first page; 0 if
  // it could not be filled.
  PageId FinishBatchLocked(const Batch& batch, uint64_t filled)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Charges as many of the pages in `free` as there is room for, lowest first,
  // and at least one. 0 when it cannot be charged.
  uint64_t ChargeBatch(uint64_t free, Priority priority);
  // Lists the unit again, or frees it when nothing of it is resident.
  void SettleLocked(UnitId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Allocates the lowest page in `candidates`.
  PageId OccupyLocked(UnitId id, uint64_t candidates)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RelistLocked(UnitId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Free(PageId page);
  // Releases the retained pages of one unit. False when there are none, or when
  // the kernel refuses.
  bool ReleaseOneUnit();
  // Marks a unit's retained pages as releasing. Returns 0 when there are none.
  UnitId StartRelease(uint64_t* mask);
  void FinishRelease(UnitId id, uint64_t mask, bool given_back);

  // The bit of a page's reference count that marks it as common.
  static constexpr uint32_t kCommonBit = uint32_t{1} << 31;

  const uint8_t owner_;

  // Thread-safe.
  UnitTable& units_;
  MemoryAccount& account_;
  // Written under mu_, read without it.
  std::atomic<uint64_t> allocated_pages_{0};
  std::atomic<bool> retains_{false};

  // Also guards the Unit structs of its units.
  Mutex mu_;
  // Units with free pages, and units with retained pages.
  UnitsByFullness partial_ ABSL_GUARDED_BY(mu_);
  UnitsByFullness retaining_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_PAGE_POOL_H_
