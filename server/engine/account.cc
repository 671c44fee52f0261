#include "server/engine/account.h"

#include <algorithm>

namespace ramvol::engine {

Account::~Account() {
  arena_.Unreserve(unused_bytes_.load(std::memory_order_relaxed));
}

bool Account::Charge(uint64_t bytes, Priority priority) {
  const uint64_t limit = limit_bytes();
  const uint64_t before =
      charged_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  if (limit == 0 || priority == Priority::kGuaranteed ||
      (bytes <= limit && before <= limit - bytes)) {
    return true;
  }
  charged_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  return false;
}

uint64_t Account::DrawReservation(uint64_t bytes) {
  uint64_t unused = unused_bytes_.load(std::memory_order_relaxed);
  uint64_t drawn;
  do {
    drawn = std::min(unused, bytes);
    if (drawn == 0) return 0;
  } while (!unused_bytes_.compare_exchange_weak(unused, unused - drawn,
                                                std::memory_order_acq_rel));
  return drawn;
}

void Account::RefillReservation() {
  if (promised_bytes_.load(std::memory_order_relaxed) == 0) return;
  // All that is missing, not only what was just freed: a charge that is being
  // made meanwhile may have hidden some of it last time.
  uint64_t unused = unused_bytes_.load(std::memory_order_acquire);
  uint64_t refill;
  do {
    // Read after `unused`: see GrowReservation.
    const uint64_t promised = promised_bytes_.load(std::memory_order_relaxed);
    const uint64_t covered =
        charged_bytes_.load(std::memory_order_relaxed) + unused;
    refill = promised > covered ? promised - covered : 0;
  } while (!unused_bytes_.compare_exchange_weak(unused, unused + refill,
                                                std::memory_order_acq_rel,
                                                std::memory_order_acquire));
  // Not refused: the memory that was just freed makes room for it.
  if (refill > 0) arena_.Reserve(refill, Priority::kGuaranteed);
}

PageId Account::NewPage(Priority priority) {
  if (!Charge(kPageBytes, priority)) return 0;
  const uint64_t drawn = DrawReservation(kPageBytes);
  const PageId page = arena_.AllocatePage(
      drawn == kPageBytes ? Priority::kGuaranteed : priority);
  if (page == 0) {
    charged_bytes_.fetch_sub(kPageBytes, std::memory_order_relaxed);
    unused_bytes_.fetch_add(drawn, std::memory_order_relaxed);
    return 0;
  }
  if (drawn > 0) arena_.Unreserve(drawn);
  return page;
}

void Account::FreePage(PageId page) {
  arena_.UnrefPage(page);
  Uncharge(kPageBytes);
}

void* Account::New(size_t bytes, Priority priority) {
  const uint64_t taken = Arena::AllocatedBytes(bytes);
  if (!Charge(taken, priority)) return nullptr;
  const uint64_t drawn = DrawReservation(taken);
  void* object =
      arena_.Allocate(bytes, drawn == taken ? Priority::kGuaranteed : priority);
  if (object == nullptr) {
    charged_bytes_.fetch_sub(taken, std::memory_order_relaxed);
    unused_bytes_.fetch_add(drawn, std::memory_order_relaxed);
    return nullptr;
  }
  if (drawn > 0) arena_.Unreserve(drawn);
  return object;
}

void Account::Delete(void* object, size_t bytes) {
  arena_.Free(object, bytes);
  Uncharge(Arena::AllocatedBytes(bytes));
}

void Account::Uncharge(uint64_t bytes) {
  charged_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  RefillReservation();
}

bool Account::ArenaHasRoom(uint64_t bytes) const {
  if (!arena_.Reserve(bytes, Priority::kNormal)) return false;
  arena_.Unreserve(bytes);
  return true;
}

bool Account::HasRoom(uint64_t bytes) const {
  if (unused_bytes_.load(std::memory_order_relaxed) >= bytes) return true;
  return !AtOwnLimit(bytes) && ArenaHasRoom(bytes);
}

bool Account::OwnLimitRefuses(uint64_t bytes) const {
  if (limit_bytes() == 0) return false;
  return AtOwnLimit(std::min<uint64_t>(bytes, kPageBytes)) ||
         ArenaHasRoom(bytes);
}

bool Account::GrowReservation(uint64_t bytes) {
  if (!arena_.Reserve(bytes, Priority::kNormal)) return false;
  // In this order, and the other way round when shrinking: at no moment may
  // more be promised than is covered, or a refill would add it once more.
  unused_bytes_.fetch_add(bytes, std::memory_order_acq_rel);
  promised_bytes_.fetch_add(bytes, std::memory_order_release);
  return true;
}

void Account::ShrinkReservation(uint64_t bytes) {
  promised_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  arena_.Unreserve(DrawReservation(bytes));
}

uint64_t Account::used_bytes() const {
  return charged_bytes_.load(std::memory_order_relaxed) +
         unused_bytes_.load(std::memory_order_relaxed);
}

bool Account::AtOwnLimit(uint64_t bytes) const {
  const uint64_t limit = limit_bytes();
  if (limit == 0) return false;
  const uint64_t charged = charged_bytes_.load(std::memory_order_relaxed);
  return bytes > limit || charged > limit - bytes;
}

}  // namespace ramvol::engine
