#include "server/engine/memory/page_pool.h"

#include <bit>

#include "base/check.h"
#include "server/engine/memory/poison.h"

namespace ramvol::engine {
namespace {

UnitId UnitOf(PageId page) { return page / kUnitPages; }
uint64_t BitOf(PageId page) { return uint64_t{1} << (page % kUnitPages); }

int64_t BytesIn(uint64_t pages) {
  return int64_t{std::popcount(pages)} * static_cast<int64_t>(kPageBytes);
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
  if (unit.resident == 0) {
    partial_.Remove(id);
    units_.Put(id);
  } else {
    RelistLocked(id);
  }
}

}  // namespace ramvol::engine
