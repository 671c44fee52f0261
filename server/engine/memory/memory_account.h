// The accounting of the memory limit.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_MEMORY_ACCOUNT_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_MEMORY_ACCOUNT_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "server/engine/memory/memory_types.h"

namespace ramvol::engine {

// Counts bytes in use against a limit. A part of the limit is a reserve that
// Priority::kNormal may not use: a 128th of the limit, at least 1 MiB.
//
// Background work borrows from the reserve. What it borrows does not reduce
// what others may use. Whatever is freed next, by any thread, repays it.
//
// Thread-safe and exact: no interleaving lets a priority exceed its share, not
// even for a moment. Memory is charged before it is touched and credited after
// it was released, so the count is never too low. Charges are for at least a
// page, so contention for the shared cache line is low.
class MemoryAccount {
 public:
  explicit MemoryAccount(uint64_t limit_bytes)
      : limit_bytes_(limit_bytes),
        reserve_bytes_(std::min(
            limit_bytes,
            std::max(kMinReserveBytes, limit_bytes / kReserveShare))) {}

  // Counts `bytes` more, or returns false and counts nothing. kGuaranteed
  // always succeeds. The other priorities fail even for 0 bytes while more is
  // in use than they may use.
  bool TryCharge(uint64_t bytes, Priority priority) {
    if (priority == Priority::kGuaranteed) {
      if (bytes > 0) used_bytes_.fetch_add(bytes, std::memory_order_relaxed);
      return true;
    }
    // First without the reserve, for all priorities.
    if (TryAdd(bytes, limit_bytes_ - reserve_bytes_ + borrowed_bytes())) {
      return true;
    }
    return priority != Priority::kNormal && TryBorrow(bytes, priority);
  }
  // Whether TryCharge would succeed now.
  bool HasRoom(uint64_t bytes, Priority priority) const {
    const uint64_t used = used_bytes();
    const uint64_t borrowed = borrowed_bytes();
    const auto fits = [&](uint64_t limit) {
      return used <= limit && bytes <= limit - used;
    };
    if (fits(limit_bytes_ - reserve_bytes_ + borrowed)) return true;
    return priority != Priority::kNormal && fits(limit_bytes_) &&
           borrowed + bytes <= LoanOf(priority);
  }
  void Credit(uint64_t bytes) {
    Repay(bytes);
    used_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  }

  uint64_t limit_bytes() const { return limit_bytes_; }
  uint64_t used_bytes() const {
    return used_bytes_.load(std::memory_order_relaxed);
  }
  uint64_t borrowed_bytes() const {
    return borrowed_bytes_.load(std::memory_order_relaxed);
  }

  // Retained memory is resident and counted as used, but free.
  void AddRetained(int64_t bytes) {
    if (bytes != 0) retained_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }
  // How many pages of a file to make resident at once, for a part of the arena
  // that has `pages` in use: more at once cost less each, and what is not
  // needed at once is retained. So that it does not count, it is a 32nd.
  static uint64_t BatchPages(uint64_t pages) {
    return std::clamp<uint64_t>(pages / kBatchShare, 1, kMaxBatchPages);
  }

  // Common memory is in use and belongs to several volumes at once.
  void AddCommon(int64_t bytes) {
    common_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }
  uint64_t common_bytes() const {
    return common_bytes_.load(std::memory_order_relaxed);
  }
  // StartRelease and FinishRelease enclose the system call that releases
  // retained memory. Until it has returned, the memory counts as used.
  void StartRelease(uint64_t bytes) {
    releasing_bytes_.fetch_add(bytes, std::memory_order_relaxed);
    retained_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  }
  void FinishRelease(uint64_t bytes, bool given_back) {
    if (given_back) {
      Credit(bytes);
    } else {
      AddRetained(bytes);
    }
    // Release: a thread that sees no pending release also sees its result.
    releasing_bytes_.fetch_sub(bytes, std::memory_order_release);
  }
  // The same for memory that is charged and being made resident, to be retained
  // then.
  void StartFill(uint64_t bytes) {
    releasing_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }
  void FinishFill(uint64_t bytes, bool filled) {
    FinishRelease(bytes, /*given_back=*/!filled);
  }
  uint64_t retained_bytes() const {
    return retained_bytes_.load(std::memory_order_relaxed);
  }
  // What a failed allocation may wait for: retained memory, and what other
  // threads are releasing, or about to retain, right now.
  uint64_t reclaimable_bytes() const {
    return releasing_bytes_.load(std::memory_order_acquire) + retained_bytes();
  }
  // The bound of retained memory: a 32nd of what is in use, at least 1 MiB.
  uint64_t max_retained_bytes() const {
    return std::max(kMinRetainedBytes, used_bytes() / kRetainedShare);
  }

 private:
  static constexpr uint64_t kMinReserveBytes = 1 << 20;
  static constexpr uint64_t kReserveShare = 128;
  static constexpr uint64_t kMinRetainedBytes = 1 << 20;
  // used_bytes() includes retained memory: a 33rd of both is a 32nd of the
  // rest.
  static constexpr uint64_t kRetainedShare = 33;
  static constexpr uint64_t kBatchShare = 32;
  static constexpr uint64_t kMaxBatchPages = 16;

  // The most that `priority` may borrow from the reserve.
  uint64_t LoanOf(Priority priority) const {
    return priority == Priority::kMerge ? reserve_bytes_ / 2 : reserve_bytes_;
  }

  // Counts `bytes` more, unless that would exceed `limit`.
  bool TryAdd(uint64_t bytes, uint64_t limit) {
    uint64_t used = used_bytes();
    do {
      if (used > limit || bytes > limit - used) return false;
    } while (bytes > 0 && !used_bytes_.compare_exchange_weak(
                              used, used + bytes, std::memory_order_relaxed));
    return true;
  }

  bool TryBorrow(uint64_t bytes, Priority priority) {
    if (!TryAdd(bytes, limit_bytes_)) return false;
    uint64_t borrowed = borrowed_bytes();
    do {
      if (borrowed + bytes > LoanOf(priority)) {
        used_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
        return false;
      }
    } while (!borrowed_bytes_.compare_exchange_weak(borrowed, borrowed + bytes,
                                                    std::memory_order_relaxed));
    return true;
  }

  void Repay(uint64_t bytes) {
    uint64_t borrowed = borrowed_bytes();
    while (borrowed > 0 && !borrowed_bytes_.compare_exchange_weak(
                               borrowed, borrowed - std::min(borrowed, bytes),
                               std::memory_order_relaxed)) {
    }
  }

  const uint64_t limit_bytes_;
  const uint64_t reserve_bytes_;
  std::atomic<uint64_t> used_bytes_{0};
  // Of used_bytes_: what background work borrowed from the reserve.
  std::atomic<uint64_t> borrowed_bytes_{0};
  std::atomic<uint64_t> retained_bytes_{0};
  std::atomic<uint64_t> releasing_bytes_{0};
  std::atomic<uint64_t> common_bytes_{0};
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_MEMORY_ACCOUNT_H_
