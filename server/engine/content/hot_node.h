// The hot overlay of a chunk: its uncompressed blocks in the hot cache.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_HOT_NODE_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_HOT_NODE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "server/engine/content/home.h"
#include "server/engine/content/hot_blocks.h"

namespace ramvol::engine {

enum class HotQueue : uint8_t {
  kNone,       // Not linked: a thread works on the node.
  kDirty,      // Has blocks to compress; oldest first.
  kProbation,  // Clean, not used again since it was linked.
  kMain,       // Clean, used again.
};
inline constexpr int kHotQueues = 4;

// The hot blocks of one chunk, which the lock of the chunk's home guards. Lives
// in the arena; owned by the chunk's map.
struct HotNode : HotBlocks {
  // Guarded by the lock of its cache shard.
  HotNode* previous = nullptr;
  HotNode* next = nullptr;
  HotQueue queue = HotQueue::kNone;
  // Uses since the queue last looked, at most 3. A hint, written without a
  // lock.
  std::atomic<uint8_t> uses{0};

  // Guarded by the lock of its HotNodes.
  HotNode* older = nullptr;
  HotNode* newer = nullptr;

  // The HomePointer's bits. Written with the home locked, see HotCache::Move.
  std::atomic<uintptr_t> home{0};
  // Constant.
  uint64_t chunk = 0;

  // The caller must make sure that the home is alive.
  Home PinHome() const {
    return Home({home.load(std::memory_order_acquire)}, chunk);
  }

  void Use() {
    const uint8_t before = uses.load(std::memory_order_relaxed);
    if (before < 3) uses.store(before + 1, std::memory_order_relaxed);
  }
};

// A ring of the hot nodes of one layer, in all queues. A volume at its own
// limit drops some of these, without searching the nodes of all volumes.
//
// Thread-safe. Lock order: after a leaf's lock.
class HotNodes {
 public:
  void Add(HotNode* node);
  void Remove(HotNode* node);
  // Makes the oldest node the newest, and returns its home, which is empty when
  // there is no node.
  Home Rotate();
  size_t size() const;
  // Returns when the calls that were under way have ended.
  void Settle() { MutexLock lock(&mu_); }

 private:
  mutable Mutex mu_;
  size_t size_ ABSL_GUARDED_BY(mu_) = 0;
  // Its `newer` is the oldest: the ring closes there.
  HotNode* newest_ ABSL_GUARDED_BY(mu_) = nullptr;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_HOT_NODE_H_
