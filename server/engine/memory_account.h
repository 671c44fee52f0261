// Who may have how much: the memory limit as two counters.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_ACCOUNT_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_ACCOUNT_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "server/engine/memory_types.h"

namespace ramvol::engine {

// Counts bytes in use against a limit, of which a reserve is kept for
// Priority::kGuaranteed: 256 KiB, or a 256th of the limit if that is more.
//
// Thread-safe and exact: no interleaving takes kNormal past its share, not even
// for a moment. Memory is charged before it is touched and credited after it
// was given back, so that the count is never below the truth. Charges come a
// page or more at a time, which keeps the shared cache line calm.
class MemoryAccount {
 public:
  explicit MemoryAccount(uint64_t limit_bytes)
      : limit_bytes_(limit_bytes),
        normal_limit_bytes_(
            limit_bytes -
            std::min(limit_bytes,
                     std::max(kMinReserveBytes, limit_bytes / kReserveShare))) {
  }

  // Counts `bytes` more, or returns false and counts nothing. kGuaranteed
  // always succeeds. kNormal fails for 0 bytes too when the reserve is in use.
  bool TryCharge(uint64_t bytes, Priority priority) {
    if (priority == Priority::kGuaranteed) {
      if (bytes > 0) used_bytes_.fetch_add(bytes, std::memory_order_relaxed);
      return true;
    }
    uint64_t used = used_bytes();
    do {
      if (!HasRoom(used, bytes)) return false;
    } while (bytes > 0 && !used_bytes_.compare_exchange_weak(
                              used, used + bytes, std::memory_order_relaxed));
    return true;
  }
  // Whether TryCharge at kNormal would succeed now.
  bool HasRoom(uint64_t bytes) const { return HasRoom(used_bytes(), bytes); }
  void Credit(uint64_t bytes) {
    used_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  }

  uint64_t limit_bytes() const { return limit_bytes_; }
  uint64_t used_bytes() const {
    return used_bytes_.load(std::memory_order_relaxed);
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
  static constexpr uint64_t kMinReserveBytes = 256 << 10;
  static constexpr uint64_t kReserveShare = 256;
  static constexpr uint64_t kMinRetainedBytes = 1 << 20;
  // Used counts the retained too: a 33rd of both is a 32nd of the rest.
  static constexpr uint64_t kRetainedShare = 33;

  bool HasRoom(uint64_t used, uint64_t bytes) const {
    return used <= normal_limit_bytes_ && bytes <= normal_limit_bytes_ - used;
  }

  const uint64_t limit_bytes_;
  const uint64_t normal_limit_bytes_;
  std::atomic<uint64_t> used_bytes_{0};
  std::atomic<uint64_t> retained_bytes_{0};
  std::atomic<uint64_t> releasing_bytes_{0};
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_ACCOUNT_H_
