// The index of a volume: a radix tree from chunk numbers to chunk entries. It
// has nodes only where something is stored.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_INDEX_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_INDEX_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "base/counters.h"
#include "base/mutex.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/memory/account.h"

namespace ramvol::engine {

// Children of an inner node, and chunks of a leaf. A leaf covers 4 MiB in 576
// bytes.
inline constexpr int kFanoutBits = 6;
inline constexpr int kFanout = 1 << kFanoutBits;

// The entries of 64 consecutive chunks. Its lock is held for look-ups and
// commits only, never while bytes are copied, compressed or decompressed.
struct Leaf {
  Mutex mu;
  // Bit i: entries[i] is not a hole.
  uint64_t present ABSL_GUARDED_BY(mu) = 0;
  // Something changed since merging last looked.
  bool unsettled ABSL_GUARDED_BY(mu) = false;
  std::array<ChunkEntry, kFanout> entries ABSL_GUARDED_BY(mu) = {};
};

// A readers-writer lock whose readers do not share a cache line: a reader locks
// its thread's stripe, a writer locks all stripes.
class ABSL_LOCKABLE StripedLock {
 public:
  void ReaderLock() ABSL_SHARED_LOCK_FUNCTION() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    stripes_[ThreadStripe()].mu.Lock();
  }
  void ReaderUnlock() ABSL_UNLOCK_FUNCTION() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    stripes_[ThreadStripe()].mu.Unlock();
  }
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    for (Stripe& stripe : stripes_) stripe.mu.Lock();
  }
  void Unlock() ABSL_UNLOCK_FUNCTION() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    for (Stripe& stripe : stripes_) stripe.mu.Unlock();
  }

 private:
  struct alignas(64) Stripe {
    Mutex mu;
  };
  std::array<Stripe, kStripes> stripes_;
};

class ABSL_SCOPED_LOCKABLE StripedReaderLock {
 public:
  explicit StripedReaderLock(StripedLock* lock) ABSL_SHARED_LOCK_FUNCTION(lock)
      : lock_(lock) {
    lock_->ReaderLock();
  }
  StripedReaderLock(const StripedReaderLock&) = delete;
  StripedReaderLock& operator=(const StripedReaderLock&) = delete;
  ~StripedReaderLock() ABSL_UNLOCK_FUNCTION() { lock_->ReaderUnlock(); }

 private:
  StripedLock* const lock_;
};

class ABSL_SCOPED_LOCKABLE StripedWriterLock {
 public:
  explicit StripedWriterLock(StripedLock* lock)
      ABSL_EXCLUSIVE_LOCK_FUNCTION(lock)
      : lock_(lock) {
    lock_->Lock();
  }
  StripedWriterLock(const StripedWriterLock&) = delete;
  StripedWriterLock& operator=(const StripedWriterLock&) = delete;
  ~StripedWriterLock() ABSL_UNLOCK_FUNCTION() { lock_->Unlock(); }

 private:
  StripedLock* const lock_;
};

// Thread-safe under lock(), as annotated: look-ups and additions share it; what
// removes nodes or changes the root takes it exclusively. Charges its nodes to
// `account`, which must outlive it.
class Index {
 public:
  // Covers chunks below `chunks`.
  Index(Account& account, uint64_t chunks);
  // Frees the nodes. All entries must be holes.
  ~Index();

  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  StripedLock& lock() const ABSL_LOCK_RETURNED(lock_) { return lock_; }

  // The leaf that covers `chunk`, or nullptr.
  Leaf* Find(uint64_t chunk) const ABSL_SHARED_LOCKS_REQUIRED(lock_);
  // The same, created if there is none. nullptr at a memory limit.
  Leaf* FindOrCreate(uint64_t chunk, Priority priority)
      ABSL_SHARED_LOCKS_REQUIRED(lock_);

  struct Position {
    uint64_t first_chunk;  // Of the leaf.
    Leaf* leaf;
  };
  // The first leaf that covers `chunk` or a later one.
  std::optional<Position> FindFrom(uint64_t chunk) const
      ABSL_SHARED_LOCKS_REQUIRED(lock_);

  // Makes the index cover chunks below `chunks`. Never shrinks it.
  void Grow(uint64_t chunks) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Frees empty leaves that cover chunks `first` to `last`, and inner nodes
  // that become empty.
  void Prune(uint64_t first, uint64_t last)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

 private:
  struct Inner {
    std::array<std::atomic<void*>, kFanout> children = {};
  };

  // log2 of the chunks that a child of a node at `level` covers. Leaves are at
  // level 0.
  static int ChildShift(int level) { return kFanoutBits * level; }
  bool Covers(uint64_t chunk) const;
  void* NewNode(int level, Priority priority);
  void DeleteNode(void* node, int level);
  std::optional<Position> FindBelow(void* node, int level, uint64_t base,
                                    uint64_t chunk) const;
  // Returns whether `node` is empty afterwards.
  bool PruneBelow(void* node, int level, uint64_t base, uint64_t first,
                  uint64_t last);
  void DeleteBelow(void* node, int level);

  Account& account_;
  mutable StripedLock lock_;
  // The root's level; it covers kFanout^(level + 1) chunks. Written under the
  // exclusive lock.
  int root_level_ = 0;
  std::atomic<void*> root_{nullptr};
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_INDEX_H_
