// Who may have how much: the memory limit as two counters.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_MEMORY_ACCOUNT_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_MEMORY_ACCOUNT_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "server/engine/memory/memory_types.h"

namespace ramvol::engine {

// Counts bytes in use against a limit, of which a reserve is kept for all but
// Priority::kNormal: 1 MiB, or a 128th of the limit if that is more.
//
// What background work borrows from the reserve is not counted against others:
// they may still use all but the reserve. What is given back next, by whomever,
// repays it.
//
// Thread-safe and exact: no interleaving takes a priority past its share, not
// even for a moment. Memory is charged before it is touched and credited after
// it was given back, so that the count is never below the truth. Charges come a
// page or more at a time, which keeps the shared cache line calm.
class MemoryAccount {
 public:
  explicit MemoryAccount(uint64_t limit_bytes)
      : limit_bytes_(limit_bytes),
        reserve_bytes_(std::min(
            limit_bytes,
            std::max(kMinReserveBytes, limit_bytes / kReserveShare))) {}

  // Counts `bytes` more, or returns false and counts nothing. kGuaranteed
  // always succeeds. The others fail for 0 bytes too when more is in use than
  // they may use.
  bool TryCharge(uint64_t bytes, Priority priority) {
    if (priority == Priority::kGuaranteed) {
      if (bytes > 0) used_bytes_.fetch_add(bytes, std::memory_order_relaxed);
      return true;
    }
    // What fits without the reserve is charged like all else.
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
  // Frames the system call that gives retained memory back; until it has
  // returned, the memory counts as used.
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
    // Whoever sees nothing left to wait for sees what became of it.
    releasing_bytes_.fetch_sub(bytes, std::memory_order_release);
  }
  uint64_t retained_bytes() const {
    return retained_bytes_.load(std::memory_order_relaxed);
  }
  // What a failed allocation may hope for: retained memory, and what other
  // threads are giving back right now.
  uint64_t reclaimable_bytes() const {
    return releasing_bytes_.load(std::memory_order_acquire) + retained_bytes();
  }
  // How much may be retained: a 32nd of what is in use, at least 1 MiB.
  uint64_t max_retained_bytes() const {
    return std::max(kMinRetainedBytes, used_bytes() / kRetainedShare);
  }

 private:
  static constexpr uint64_t kMinReserveBytes = 1 << 20;
  static constexpr uint64_t kReserveShare = 128;
  static constexpr uint64_t kMinRetainedBytes = 1 << 20;
  // Used counts the retained too: a 33rd of both is a 32nd of the rest.
  static constexpr uint64_t kRetainedShare = 33;

  // Most that may be borrowed from the reserve.
  uint64_t LoanOf(Priority priority) const {
    return priority == Priority::kMerge ? reserve_bytes_ / 2 : reserve_bytes_;
  }

  // Counts `bytes` more unless more than `limit` would be in use then.
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
  // Of them: by background work, out of the reserve.
  std::atomic<uint64_t> borrowed_bytes_{0};
  std::atomic<uint64_t> retained_bytes_{0};
  std::atomic<uint64_t> releasing_bytes_{0};
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_MEMORY_ACCOUNT_H_
