#include "server/engine/memory/account.h"

#include <algorithm>

namespace ramvol::engine {

Account::~Account() {
  MutexLock lock(&mu_);
  arena_.Unreserve(promised_bytes_ - drawn_bytes_);
}

bool Account::Charge(uint64_t bytes, Priority priority, uint64_t* drawn) {
  *drawn = 0;
  if (reserves_.load(std::memory_order_acquire)) {
    MutexLock lock(&mu_);
    charged_bytes_.fetch_add(bytes, std::memory_order_relaxed);
    *drawn = std::min(bytes, promised_bytes_ - drawn_bytes_);
    drawn_bytes_ += *drawn;
    return true;
  }
  const uint64_t limit = limit_bytes();
  const uint64_t before =
      charged_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  // Other priorities free more than they take, so the volume's limit must not
  // stop them.
  if (limit == 0 || priority != Priority::kNormal ||
      (bytes <= limit && before <= limit - bytes)) {
    return true;
  }
  charged_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  return false;
}

void Account::UndoCharge(uint64_t bytes, uint64_t drawn) {
  MutexLock lock(&mu_);
  charged_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  drawn_bytes_ -= drawn;
}

void Account::Uncharge(uint64_t bytes) {
  if (!reserves_.load(std::memory_order_acquire)) {
    charged_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    return;
  }
  uint64_t refill;
  {
    MutexLock lock(&mu_);
    const uint64_t charged =
        charged_bytes_.fetch_sub(bytes, std::memory_order_relaxed) - bytes;
    // Charges beyond the reservation are taken off first.
    refill = drawn_bytes_ - std::min(drawn_bytes_, charged);
    drawn_bytes_ -= refill;
  }
  // Guaranteed: the memory that was just freed makes room for it.
  if (refill > 0) arena_.Reserve(refill, Priority::kGuaranteed);
}

PageId Account::NewPage(Priority priority) {
  uint64_t drawn;
  if (!Charge(kPageBytes, priority, &drawn)) return 0;
  // A reserved page is already in the arena's count, so its allocation must not
  // be refused. Until Unreserve, it counts twice.
  const PageId page = arena_.AllocatePage(
      drawn == kPageBytes ? Priority::kGuaranteed : priority);
  if (page == 0) {
    UndoCharge(kPageBytes, drawn);
  } else if (drawn > 0) {
    arena_.Unreserve(drawn);
  }
  return page;
}

void Account::FreePage(PageId page) {
  const bool common = arena_.IsCommon(page);
  arena_.UnrefPage(page);
  if (!common) Uncharge(kPageBytes);
}

void Account::TakeCharge(uint64_t bytes, Account& other) {
  if (bytes == 0 || &other == this) return;
  AdoptCharge(bytes);
  other.Uncharge(bytes);
}

void Account::AdoptCharge(uint64_t bytes) {
  uint64_t drawn;
  Charge(bytes, Priority::kGuaranteed, &drawn);
  // Reserved and allocated, it is in the arena's count twice.
  if (drawn > 0) arena_.Unreserve(drawn);
}

void* Account::New(size_t bytes, Priority priority) {
  const uint64_t taken = Arena::AllocatedBytes(bytes);
  uint64_t drawn;
  if (!Charge(taken, priority, &drawn)) return nullptr;
  void* object =
      arena_.Allocate(bytes, drawn == taken ? Priority::kGuaranteed : priority);
  if (object == nullptr) {
    UndoCharge(taken, drawn);
  } else if (drawn > 0) {
    arena_.Unreserve(drawn);
  }
  return object;
}

void Account::Delete(void* object, size_t bytes) {
  arena_.Free(object, bytes);
  Uncharge(Arena::AllocatedBytes(bytes));
}

bool Account::ArenaHasRoom(uint64_t bytes) const {
  if (arena_.HasRoom(bytes)) return true;
  if (!arena_.Reserve(bytes, Priority::kNormal)) return false;
  arena_.Unreserve(bytes);
  return true;
}

bool Account::HasRoom(uint64_t bytes) const {
  return UnusedReservation() >= bytes ||
         (!AtOwnLimit(bytes) && ArenaHasRoom(bytes));
}

bool Account::OwnLimitRefuses(uint64_t bytes) const {
  if (limit_bytes() == 0) return false;
  const auto page = std::min<uint64_t>(bytes, kPageBytes);
  if (AtOwnLimit(page)) return true;
  // The arena may have got room since the allocation failed. Then the account's
  // own limit refused only if it has no room for `bytes`.
  return AtOwnLimit(bytes) && ArenaHasRoom(page);
}

bool Account::GrowReservation(uint64_t bytes, Priority priority) {
  if (!arena_.Reserve(bytes, priority)) return false;
  MutexLock lock(&mu_);
  promised_bytes_ += bytes;
  reserves_.store(true, std::memory_order_release);
  return true;
}

void Account::ShrinkReservation(uint64_t bytes) {
  MutexLock lock(&mu_);
  const uint64_t unused_before = promised_bytes_ - drawn_bytes_;
  promised_bytes_ -= bytes;
  drawn_bytes_ = std::min(drawn_bytes_, promised_bytes_);
  arena_.Unreserve(unused_before - (promised_bytes_ - drawn_bytes_));
}

void Account::EndReservation() {
  MutexLock lock(&mu_);
  const uint64_t unused = promised_bytes_ - drawn_bytes_;
  promised_bytes_ = drawn_bytes_ = 0;
  arena_.Unreserve(unused);
}

uint64_t Account::UnusedReservation() const {
  if (!reserves_.load(std::memory_order_acquire)) return 0;
  MutexLock lock(&mu_);
  return promised_bytes_ - drawn_bytes_;
}

uint64_t Account::used_bytes() const {
  MutexLock lock(&mu_);
  return charged_bytes_.load(std::memory_order_relaxed) + promised_bytes_ -
         drawn_bytes_;
}

bool Account::AtOwnLimit(uint64_t bytes) const {
  const uint64_t limit = limit_bytes();
  if (limit == 0) return false;
  const uint64_t charged = charged_bytes_.load(std::memory_order_relaxed);
  return bytes > limit || charged > limit - bytes;
}

}  // namespace ramvol::engine
