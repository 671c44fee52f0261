#include "server/engine/memory/page_pool.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "server/engine/memory/poison.h"

namespace ramvol::engine {
namespace {

UnitId UnitOf(PageId page) { return page / kUnitPages; }
uint64_t BitOf(PageId page) { return uint64_t{1} << (page % kUnitPages); }

// The lowest of `pages` and those that follow it without a gap, at most
// `count`.
uint64_t LowestRun(uint64_t pages, uint64_t count) {
  const int first = std::countr_zero(pages);
  const int run = std::countr_one(pages >> first);
  const auto length = std::min<uint64_t>(run, count);
  return (~uint64_t{0} >> (kUnitPages - length)) << first;
}

}  // namespace

PageId PagePool::AllocateRetained(Priority priority) {
  if (!retains_.load(std::memory_order_relaxed)) return 0;
  MutexLock lock(&mu_);
  const UnitId id = retaining_.Fullest();
  // Retained pages are charged already. Charging 0 bytes only asks whether this
  // priority may use more memory now.
  if (id == 0 || !account_.TryCharge(0, priority)) return 0;
  return OccupyLocked(id, units_.unit(id).retained());
}

PageId PagePool::AllocateFresh(Priority priority) {
  if (units_.is_file()) return AllocateFromFile(priority);
  MutexLock lock(&mu_);
  if (!account_.TryCharge(kPageBytes, priority)) return 0;
  UnitId id = partial_.Fullest();
  if (id == 0) id = units_.Take(owner_, priority);
  if (id == 0) {
    account_.Credit(kPageBytes);
    return 0;
  }
  Unit& unit = units_.unit(id);
  const uint64_t taken = unit.occupied | unit.releasing;
  if ((~taken & ~unit.resident) != 0) {
    return OccupyLocked(id, ~taken & ~unit.resident);
  }
  // All its free pages are retained: another thread freed them after our
  // AllocateRetained failed. They are charged already.
  account_.Credit(kPageBytes);
  return OccupyLocked(id, unit.retained());
}

PageId PagePool::AllocateFromFile(Priority priority) {
  PageId page = 0;
  Batch batch;
  {
    MutexLock lock(&mu_);
    batch = StartBatchLocked(priority, &page);
  }
  if (batch.unit == 0) return page;
  uint64_t filled = batch.pages;
  if (!units_.Fill(batch.unit, filled)) {
    // There may still be room for one.
    filled = LowestRun(batch.pages, 1);
    if (!units_.Fill(batch.unit, filled)) filled = 0;
  }
  MutexLock lock(&mu_);
  return FinishBatchLocked(batch, filled);
}

PagePool::Batch PagePool::StartBatchLocked(Priority priority, PageId* page) {
  UnitId id = partial_.Fullest();
  const bool is_new = id == 0;
  if (is_new) id = units_.Take(owner_, priority);
  if (id == 0) return {};
  Unit& unit = units_.unit(id);
  const uint64_t free = ~(unit.occupied | unit.releasing | unit.resident);
  if (free == 0) {
    if (account_.TryCharge(0, priority)) {
      *page = OccupyLocked(id, unit.retained());
    }
    return {};
  }
  const uint64_t pages = ChargeBatch(free, priority);
  if (pages == 0) {
    if (is_new) units_.Put(id);
    return {};
  }
  account_.StartFill(BytesIn(pages) - kPageBytes);
  unit.releasing |= pages;
  RelistLocked(id);
  return {id, pages};
}

uint64_t PagePool::ChargeBatch(uint64_t free, Priority priority) {
  const uint64_t most = MemoryAccount::BatchPages(
      allocated_pages_.load(std::memory_order_relaxed));
  const uint64_t pages = LowestRun(free, most);
  // What is retained must not use the reserve.
  if (account_.TryCharge(BytesIn(pages), Priority::kNormal)) return pages;
  return account_.TryCharge(kPageBytes, priority) ? LowestRun(free, 1) : 0;
}

PageId PagePool::FinishBatchLocked(const Batch& batch, uint64_t filled) {
  Unit& unit = units_.unit(batch.unit);
  const uint64_t first = LowestRun(batch.pages, 1);
  const uint64_t others = batch.pages & ~first;
  const bool has_others = (filled & others) != 0;
  unit.releasing &= ~batch.pages;
  if (has_others) unit.resident |= others;
  account_.FinishFill(BytesIn(others), has_others);
  if (filled != 0) return OccupyLocked(batch.unit, first);
  account_.Credit(kPageBytes);
  SettleLocked(batch.unit);
  return 0;
}

PageId PagePool::OccupyLocked(UnitId id, uint64_t candidates) {
  Unit& unit = units_.unit(id);
  const int index = std::countr_zero(candidates);
  const uint64_t bit = uint64_t{1} << index;
  account_.AddRetained(-BytesIn(unit.resident & bit));
  unit.resident |= bit;
  unit.occupied |= bit;
  RelistLocked(id);
  allocated_pages_.fetch_add(1, std::memory_order_relaxed);

  const PageId page = id * kUnitPages + index;
  units_.page_refs(page).store(1, std::memory_order_relaxed);
  Unpoison(units_.page_data(page), kPageBytes);
  return page;
}

void PagePool::RelistLocked(UnitId id) {
  const Unit& unit = units_.unit(id);
  const uint64_t taken = unit.occupied | unit.releasing;
  if (~taken != 0) {
    partial_.Put(id, std::popcount(taken), kUnitPages);
  } else {
    partial_.Remove(id);
  }
  if (unit.retained() != 0) {
    retaining_.Put(id, std::popcount(taken), kUnitPages);
  } else {
    retaining_.Remove(id);
  }
  const bool retains = retaining_.Fullest() != 0;
  if (retains != retains_.load(std::memory_order_relaxed)) {
    retains_.store(retains, std::memory_order_relaxed);
  }
}

void PagePool::Ref(PageId page) {
  const uint32_t before =
      units_.page_refs(page).fetch_add(1, std::memory_order_relaxed);
  RAMVOL_CHECK(before > 0);
}

bool PagePool::MarkCommon(PageId page) {
  return (units_.page_refs(page).fetch_or(kCommonBit,
                                          std::memory_order_relaxed) &
          kCommonBit) == 0;
}

bool PagePool::IsCommon(PageId page) const {
  return (units_.page_refs(page).load(std::memory_order_relaxed) &
          kCommonBit) != 0;
}

bool PagePool::IsReferredToTwice(PageId page) const {
  return (units_.page_refs(page).load(std::memory_order_relaxed) &
          ~kCommonBit) > 1;
}

void PagePool::Unref(PageId page) {
  // acq_rel: the thread that frees the page must see all accesses of others.
  const uint32_t before =
      units_.page_refs(page).fetch_sub(1, std::memory_order_acq_rel);
  RAMVOL_CHECK(before > 0);
  if (before == (kCommonBit | 1)) account_.AddCommon(-int64_t{kPageBytes});
  if ((before & ~kCommonBit) == 1) Free(page);
}

void PagePool::Free(PageId page) {
  Poison(units_.page_data(page), kPageBytes);
  const UnitId id = UnitOf(page);
  MutexLock lock(&mu_);
  Unit& unit = units_.unit(id);
  RAMVOL_CHECK((unit.occupied & BitOf(page)) != 0);
  unit.occupied &= ~BitOf(page);
  account_.AddRetained(kPageBytes);
  RelistLocked(id);
  allocated_pages_.fetch_sub(1, std::memory_order_relaxed);
}

void PagePool::ReleaseDownTo(uint64_t retained_bytes) {
  while (account_.retained_bytes() > retained_bytes) {
    if (!ReleaseOneUnit()) return;
  }
}

bool PagePool::ReleaseOneUnit() {
  uint64_t mask = 0;
  const UnitId id = StartRelease(&mask);
  if (id == 0) return false;
  const bool given_back = units_.GiveBack(id, mask);
  FinishRelease(id, mask, given_back);
  return given_back;
}

UnitId PagePool::StartRelease(uint64_t* mask) {
  MutexLock lock(&mu_);
  const UnitId id = retaining_.Emptiest();
  if (id == 0) return 0;
  Unit& unit = units_.unit(id);
  *mask = unit.retained();
  unit.releasing |= *mask;
  account_.StartRelease(BytesIn(*mask));
  RelistLocked(id);
  return id;
}

void PagePool::FinishRelease(UnitId id, uint64_t mask, bool given_back) {
  MutexLock lock(&mu_);
  Unit& unit = units_.unit(id);
  unit.releasing &= ~mask;
  if (given_back) unit.resident &= ~mask;
  account_.FinishRelease(BytesIn(mask), given_back);
  SettleLocked(id);
}

void PagePool::SettleLocked(UnitId id) {
  const Unit& unit = units_.unit(id);
  if ((unit.resident | unit.releasing) == 0) {
    partial_.Remove(id);
    units_.Put(id);
  } else {
    RelistLocked(id);
  }
}

// ---- Recovery -------------------------------------------------------------

// By one thread, as all of recovery: it needs no lock.
Claim PagePool::ClaimPage(PageId page) {
  Unit& unit = units_.unit(UnitOf(page));
  unit.owner = owner_;
  unit.occupied |= BitOf(page);
  std::atomic<uint32_t>& refs = units_.page_refs(page);
  const uint32_t before = refs.load(std::memory_order_relaxed);
  refs.store(before + 1, std::memory_order_relaxed);
  return before == 0 ? Claim::kFirst : Claim::kAgain;
}

void PagePool::Adopt(UnitId id) {
  MutexLock lock(&mu_);
  const Unit& unit = units_.unit(id);
  allocated_pages_.fetch_add(std::popcount(unit.occupied),
                             std::memory_order_relaxed);
  account_.AddRetained(BytesIn(unit.retained()));
  RelistLocked(id);
}

}  // namespace ramvol::engine
