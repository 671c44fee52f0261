// Where a chunk's map is: in an entry of a leaf, or in a cell that leaves
// share.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_HOME_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_HOME_H_

#include <atomic>
#include <cstdint>
#include <utility>

namespace ramvol::engine {

struct Leaf;
struct Cell;

// Counts those who share an object, and pins, which keep nothing but its
// memory. Thread-safe.
class ShareCount {
 public:
  void Ref() { count_.fetch_add(kRef, std::memory_order_relaxed); }
  // True for the last reference. Then the caller, who has got a pin, empties
  // the object and drops the pin.
  [[nodiscard]] bool Unref() {
    uint64_t count = count_.load(std::memory_order_relaxed);
    bool last;
    do {
      last = count % kPin == kRef;
    } while (!count_.compare_exchange_weak(
        count, last ? count - kRef + kPin : count - kRef,
        std::memory_order_acq_rel, std::memory_order_relaxed));
    return last;
  }
  void Pin() { count_.fetch_add(kPin, std::memory_order_relaxed); }
  // True when nothing is left: free the object.
  [[nodiscard]] bool Unpin() {
    return count_.fetch_sub(kPin, std::memory_order_acq_rel) == kPin;
  }
  // Whether there is more than one reference. Acquires what those did who
  // dropped theirs.
  bool shared() const {
    return count_.load(std::memory_order_acquire) % kPin > kRef;
  }

 private:
  static constexpr uint64_t kRef = 1;
  static constexpr uint64_t kPin = uint64_t{1} << 32;

  std::atomic<uint64_t> count_{kRef};
};

// A plain pointer to the home of chunk `chunk`.
struct HomePointer {
  static HomePointer Of(Leaf* leaf) {
    return {reinterpret_cast<uintptr_t>(leaf)};
  }
  static HomePointer Of(Cell* cell) {
    return {reinterpret_cast<uintptr_t>(cell) | 1};
  }
  Leaf* leaf() const {
    return (bits & 1) == 0 ? reinterpret_cast<Leaf*>(bits) : nullptr;
  }
  Cell* cell() const {
    return (bits & 1) != 0 ? reinterpret_cast<Cell*>(bits - 1) : nullptr;
  }

  uintptr_t bits = 0;
};

// Keeps the memory of a chunk's home: it may have lost the chunk meanwhile,
// which whoever locks it sees. Movable.
class Home {
 public:
  Home() = default;
  // The home must be alive, by a lock or another pin.
  Home(HomePointer pointer, uint64_t chunk);
  Home(Home&& other) noexcept
      : pointer_(std::exchange(other.pointer_, {})), chunk_(other.chunk_) {}
  Home& operator=(Home&& other) noexcept {
    std::swap(pointer_, other.pointer_);
    std::swap(chunk_, other.chunk_);
    return *this;
  }
  ~Home();

  explicit operator bool() const { return pointer_.bits != 0; }
  HomePointer pointer() const { return pointer_; }
  uint64_t chunk() const { return chunk_; }

 private:
  HomePointer pointer_;
  uint64_t chunk_ = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_HOME_H_
