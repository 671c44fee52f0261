// The hot cache: a bounded set of uncompressed blocks of all volumes, found
// through the chunks that they belong to.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_HOT_CACHE_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_HOT_CACHE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "base/counters.h"
#include "base/mutex.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/content/hot_node.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

enum class HotCounter {
  kDirtied,  // Blocks that were written, those that were dirty already too.
  kCount,
};

// Names a chunk whose node was taken from a queue; keeps its owner alive.
struct HotChunk {
  std::shared_ptr<ChunkOwner> owner;  // nullptr: none was found.
  uint64_t chunk = 0;
};

// The queues of hot nodes, and how full the cache is. Which node to clean or to
// drop is decided here; the owner does it.
//
// Clean nodes follow S3-FIFO (Yang et al., SOSP 2023) without its ghost queue:
// a node starts in the probation queue and moves to the main queue only when it
// was used again before it reached the end, so one long scan passes through the
// tenth of the cache that probation gets.
//
// Thread-safe. Lock order: a shard's lock comes after a leaf's.
class HotCache {
 public:
  explicit HotCache(uint64_t capacity_bytes);

  HotCache(const HotCache&) = delete;
  HotCache& operator=(const HotCache&) = delete;

  // Links `node`, unless it is in a queue, as the newest: into kDirty when it
  // has dirty blocks, else by its uses into kMain or kProbation. The node's
  // leaf is locked.
  void Link(HotNode* node);
  // Takes it out of its queue, if it is in one. The node's leaf is locked.
  void Unlink(HotNode* node);
  // Moves a linked node that became dirty to kDirty. The node's leaf is locked.
  void MarkDirty(HotNode* node);

  // Takes the oldest node out of the dirty queues (out of the clean ones, by
  // S3-FIFO) and names its chunk.
  HotChunk PickDirty();
  HotChunk PickClean();

  // Counts blocks that came (or, negative, went).
  void AddBlocks(int64_t hot, int64_t dirty) {
    if (hot != 0) hot_blocks_.fetch_add(hot, std::memory_order_relaxed);
    if (dirty != 0) dirty_blocks_.fetch_add(dirty, std::memory_order_relaxed);
  }
  void CountDirtied(int64_t blocks) {
    if (blocks != 0) counters_.Add(HotCounter::kDirtied, blocks);
  }
  // How many so far; tells background work how busy writers are.
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
  // Background work keeps the dirty blocks below the first mark; beyond the
  // second, writers help.
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
  static HotChunk TakeLocked(Shard& shard, HotNode* node)
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
