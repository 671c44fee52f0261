// What the requests of all connections may hold.
#ifndef RAMVOL_NBD_BRIDGE_BUFFER_BUDGET_H_
#define RAMVOL_NBD_BRIDGE_BUFFER_BUDGET_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ramvol::nbd {

// Shares a number of bytes among connections so that none can take all: each
// may hold half as much as is free, and always kReservedBytes. So one that
// takes what it can holds a third, and another finds as much. (A dynamic
// threshold, as switches share their buffers by: Choudhury and Hahne, 1998.)
//
// Connections that ask at the same time may together take a little more.
// Thread-safe.
class BufferBudget {
 public:
  // A request of 256 KiB, as nbdcopy sends them, and what it counts beside its
  // data.
  static constexpr size_t kReservedBytes = size_t{260} << 10;

  explicit BufferBudget(size_t limit_bytes)
      : limit_bytes_(static_cast<int64_t>(limit_bytes)) {}

  // What a connection that holds `held` bytes may take.
  size_t Room(size_t held) const {
    const int64_t free =
        limit_bytes_ - used_bytes_.load(std::memory_order_relaxed);
    const size_t share = free > 0 ? static_cast<size_t>(free / 2) : 0;
    const size_t allowed = std::max(share, kReservedBytes);
    return allowed - std::min(held, allowed);
  }

  void Take(size_t bytes) {
    used_bytes_.fetch_add(static_cast<int64_t>(bytes),
                          std::memory_order_relaxed);
  }
  void Give(size_t bytes) {
    used_bytes_.fetch_sub(static_cast<int64_t>(bytes),
                          std::memory_order_relaxed);
  }

  int64_t used_bytes() const {
    return used_bytes_.load(std::memory_order_relaxed);
  }

 private:
  const int64_t limit_bytes_;
  std::atomic<int64_t> used_bytes_{0};
};

// What one connection holds of a budget, which must outlive it. One thread at a
// time may change it, any may look.
class BufferHolder {
 public:
  explicit BufferHolder(BufferBudget* budget) : budget_(*budget) {}

  BufferHolder(const BufferHolder&) = delete;
  BufferHolder& operator=(const BufferHolder&) = delete;

  size_t held_bytes() const { return held_.load(std::memory_order_relaxed); }
  // What may be taken.
  size_t Room() const { return budget_.Room(held_bytes()); }

  void Take(size_t bytes) {
    held_.fetch_add(bytes, std::memory_order_relaxed);
    budget_.Take(bytes);
  }
  void Give(size_t bytes) {
    held_.fetch_sub(bytes, std::memory_order_relaxed);
    budget_.Give(bytes);
  }

 private:
  BufferBudget& budget_;
  std::atomic<size_t> held_{0};
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_BUFFER_BUDGET_H_
