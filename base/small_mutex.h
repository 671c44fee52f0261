// A readers-writer lock of four bytes, for objects of which there are millions.
#ifndef RAMVOL_BASE_SMALL_MUTEX_H_
#define RAMVOL_BASE_SMALL_MUTEX_H_

#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"

namespace ramvol {

// For critical sections of some hundred instructions. Readers do not wait for
// each other. A waiting writer holds new readers back, so it gets its turn. A
// thread spins briefly before it sleeps.
class ABSL_LOCKABLE SmallMutex {
 public:
  SmallMutex() = default;
  SmallMutex(const SmallMutex&) = delete;
  SmallMutex& operator=(const SmallMutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    uint32_t state = 0;
    if (!state_.compare_exchange_strong(state, kWriter,
                                        std::memory_order_acquire)) {
      Acquire(kWriter | kReaders, kWriter);
    }
  }
  void Unlock() ABSL_UNLOCK_FUNCTION() {
    const uint32_t before = state_.exchange(0, std::memory_order_release);
    if ((before & kWaiting) != 0) state_.notify_all();
  }
  void ReaderLock() ABSL_SHARED_LOCK_FUNCTION() {
    uint32_t state = state_.load(std::memory_order_relaxed);
    if ((state & (kWriter | kWaiting)) != 0 ||
        !state_.compare_exchange_strong(state, state + 1,
                                        std::memory_order_acquire)) {
      Acquire(kWriter | kWaiting, 1);
    }
  }
  void ReaderUnlock() ABSL_UNLOCK_FUNCTION() {
    const uint32_t before = state_.fetch_sub(1, std::memory_order_release);
    if (before == (kWaiting | 1)) WakeAll();
  }

 private:
  static constexpr uint32_t kWriter = uint32_t{1} << 31;
  // Somebody sleeps. Whoever leaves the lock free takes the mark away and wakes
  // all of them.
  static constexpr uint32_t kWaiting = uint32_t{1} << 30;
  static constexpr uint32_t kReaders = kWaiting - 1;
  static constexpr int kSpins = 100;

  // Adds `taken` once none of `blocking` is set.
  void Acquire(uint32_t blocking, uint32_t taken) {
    for (int spins = 0;; ++spins) {
      uint32_t state = state_.load(std::memory_order_relaxed);
      if ((state & blocking) == 0) {
        if (state_.compare_exchange_weak(state, state + taken,
                                         std::memory_order_acquire)) {
          return;
        }
        continue;
      }
      if (spins < kSpins) continue;
      // A mark without a holder is left by one who is about to wake all.
      if ((state & (kWriter | kReaders)) == 0) continue;
      if ((state & kWaiting) != 0 ||
          state_.compare_exchange_weak(state, state | kWaiting,
                                       std::memory_order_relaxed)) {
        state_.wait(state | kWaiting, std::memory_order_relaxed);
      }
    }
  }
  void WakeAll() {
    uint32_t state = kWaiting;
    // Else a writer came in first, and wakes them when it leaves.
    if (state_.compare_exchange_strong(state, 0, std::memory_order_relaxed)) {
      state_.notify_all();
    }
  }

  std::atomic<uint32_t> state_{0};
};

class ABSL_SCOPED_LOCKABLE SmallMutexLock {
 public:
  explicit SmallMutexLock(SmallMutex* mu) ABSL_EXCLUSIVE_LOCK_FUNCTION(mu)
      : mu_(mu) {
    mu_->Lock();
  }
  SmallMutexLock(const SmallMutexLock&) = delete;
  SmallMutexLock& operator=(const SmallMutexLock&) = delete;
  ~SmallMutexLock() ABSL_UNLOCK_FUNCTION() { mu_->Unlock(); }

 private:
  SmallMutex* const mu_;
};

class ABSL_SCOPED_LOCKABLE SmallReaderLock {
 public:
  explicit SmallReaderLock(SmallMutex* mu) ABSL_SHARED_LOCK_FUNCTION(mu)
      : mu_(mu) {
    mu_->ReaderLock();
  }
  SmallReaderLock(const SmallReaderLock&) = delete;
  SmallReaderLock& operator=(const SmallReaderLock&) = delete;
  ~SmallReaderLock() ABSL_UNLOCK_FUNCTION() { mu_->ReaderUnlock(); }

 private:
  SmallMutex* const mu_;
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_SMALL_MUTEX_H_
