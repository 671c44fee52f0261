// The hot cache: a bounded set of uncompressed blocks of all volumes, which are
// found through their chunks.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_HOT_CACHE_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_HOT_CACHE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "base/counters.h"
#include "base/mutex.h"
#include "server/engine/content/home.h"
#include "server/engine/content/hot_node.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

enum class HotCounter {
  kDirtied,  // Written blocks, including those that were already dirty.
  kCount,
};

// The queues of hot nodes, and counts of blocks. Decides which node to clean or
// drop; the Compactor then does it.
//
// Clean nodes follow S3-FIFO (Yang et al., SOSP 2023) without its ghost queue.
// A node starts in the probation queue and moves to the main queue only if it
// is used again before it reaches the end. So a long scan only passes through
// probation, a tenth of the cache.
//
// Thread-safe. Lock order: a shard's lock comes after a leaf's.
class HotCache {
 public:
  explicit HotCache(uint64_t capacity_bytes);

  HotCache(const HotCache&) = delete;
  HotCache& operator=(const HotCache&) = delete;

  // Links `node` as the newest, unless it is in a queue: into kDirty if it has
  // dirty blocks, else into kMain if it was used again, else into kProbation.
  // The node's leaf must be locked, as for Unlink and MarkDirty.
  void Link(HotNode* node);
  // Takes `node` out of its queue, if it is in one.
  void Unlink(HotNode* node);
  // Moves a linked node that became dirty to kDirty.
  void MarkDirty(HotNode* node);

  // Takes a node out of its queue and returns its home: that of the oldest of a
  // dirty queue, or of the next clean one by S3-FIFO. Empty when there is none.
  Home PickDirty();
  Home PickClean();

  // Gives `node` another home, which is locked as the old one is. When this
  // returns, nobody finds the old one by the node any more.
  void Move(HotNode* node, HomePointer home, HotNodes& ring);

  // Adds to the counts of hot and dirty blocks; negative when blocks leave.
  void AddBlocks(int64_t hot, int64_t dirty) {
    if (hot != 0) hot_blocks_.fetch_add(hot, std::memory_order_relaxed);
    if (dirty != 0) dirty_blocks_.fetch_add(dirty, std::memory_order_relaxed);
  }
  void CountDirtied(int64_t blocks) {
    if (blocks != 0) counters_.Add(HotCounter::kDirtied, blocks);
  }
  // The sum so far. Its growth tells background work how busy writers are.
  uint64_t dirtied_blocks() const {
    return counters_.Sum(HotCounter::kDirtied);
  }
  void CountEviction(int64_t blocks) {
    evictions_.fetch_add(blocks, std::memory_order_relaxed);
  }

  int64_t hot_blocks() const {
    return hot_blocks_.load(std::memory_order_relaxed);
  }
  int64_t dirty_blocks() const {
    return dirty_blocks_.load(std::memory_order_relaxed);
  }
  uint64_t evictions() const {
    return evictions_.load(std::memory_order_relaxed);
  }
  bool OverCapacity() const { return hot_blocks() > capacity_blocks_; }
  // Background work keeps dirty blocks below the low mark. Beyond the high
  // mark, writers help.
  bool OverDirtyLow() const { return dirty_blocks() > capacity_blocks_ / 2; }
  bool OverDirtyHigh() const {
    return dirty_blocks() > capacity_blocks_ / 4 * 3;
  }
  uint64_t capacity_bytes() const { return capacity_blocks_ * kBlockBytes; }

 private:
  struct List {
    HotNode* newest = nullptr;
    HotNode* oldest = nullptr;
    size_t size = 0;
  };
  struct alignas(64) Shard {
    Mutex mu;
    std::array<List, kHotQueues> lists ABSL_GUARDED_BY(mu);
  };

  Shard& ShardOf(const HotNode* node);
  static void PushLocked(Shard& shard, HotNode* node, HotQueue queue)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  static void RemoveLocked(Shard& shard, HotNode* node)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  static HotNode* OldestDirtyLocked(Shard& shard)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  static HotNode* CleanVictimLocked(Shard& shard)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  static Home TakeLocked(Shard& shard, HotNode* node)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);

  const int64_t capacity_blocks_;
  std::atomic<int64_t> hot_blocks_{0};
  std::atomic<int64_t> dirty_blocks_{0};
  std::atomic<uint64_t> evictions_{0};
  Counters<HotCounter> counters_;
  std::atomic<uint32_t> next_shard_{0};
  std::array<Shard, kStripes> shards_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_HOT_CACHE_H_
