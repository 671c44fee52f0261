#include "server/engine/content/hot_cache.h"

#include <utility>

namespace ramvol::engine {
namespace {

// Most nodes that one call inspects before it takes the oldest.
constexpr size_t kMaxSteps = 64;

}  // namespace

HotCache::HotCache(uint64_t capacity_bytes)
    : capacity_blocks_(static_cast<int64_t>(capacity_bytes / kBlockBytes)) {}

HotCache::Shard& HotCache::ShardOf(const HotNode* node) {
  const uint64_t hash =
      (reinterpret_cast<uintptr_t>(node) >> 4) * 0x9e3779b97f4a7c15;
  return shards_[(hash >> 32) % shards_.size()];
}

void HotCache::PushLocked(Shard& shard, HotNode* node, HotQueue queue) {
  List& list = shard.lists[static_cast<size_t>(queue)];
  node->queue = queue;
  node->previous = nullptr;
  node->next = list.newest;
  (list.newest == nullptr ? list.oldest : list.newest->previous) = node;
  list.newest = node;
  ++list.size;
}

void HotCache::RemoveLocked(Shard& shard, HotNode* node) {
  if (node->queue == HotQueue::kNone) return;
  List& list = shard.lists[static_cast<size_t>(node->queue)];
  (node->previous == nullptr ? list.newest : node->previous->next) = node->next;
  (node->next == nullptr ? list.oldest : node->next->previous) = node->previous;
  node->previous = node->next = nullptr;
  node->queue = HotQueue::kNone;
  --list.size;
}

void HotCache::Link(HotNode* node) {
  Shard& shard = ShardOf(node);
  MutexLock lock(&shard.mu);
  if (node->queue != HotQueue::kNone) return;
  if (node->dirty != 0) {
    PushLocked(shard, node, HotQueue::kDirty);
    return;
  }
  const bool used = node->uses.load(std::memory_order_relaxed) > 0;
  PushLocked(shard, node, used ? HotQueue::kMain : HotQueue::kProbation);
}

void HotCache::Unlink(HotNode* node) {
  Shard& shard = ShardOf(node);
  MutexLock lock(&shard.mu);
  RemoveLocked(shard, node);
}

void HotCache::MarkDirty(HotNode* node) {
  Shard& shard = ShardOf(node);
  MutexLock lock(&shard.mu);
  // A node without a queue is in use by a thread that will link it again.
  if (node->queue == HotQueue::kNone || node->queue == HotQueue::kDirty) return;
  RemoveLocked(shard, node);
  PushLocked(shard, node, HotQueue::kDirty);
}

HotNode* HotCache::OldestDirtyLocked(Shard& shard) {
  List& list = shard.lists[static_cast<size_t>(HotQueue::kDirty)];
  // A node that was written again since it was queued gets another round.
  for (size_t step = 0; step < kMaxSteps && list.oldest != nullptr; ++step) {
    HotNode* node = list.oldest;
    if (node->uses.exchange(0, std::memory_order_relaxed) == 0) return node;
    RemoveLocked(shard, node);
    PushLocked(shard, node, HotQueue::kDirty);
  }
  return list.oldest;
}

HotNode* HotCache::CleanVictimLocked(Shard& shard) {
  List& probation = shard.lists[static_cast<size_t>(HotQueue::kProbation)];
  List& main = shard.lists[static_cast<size_t>(HotQueue::kMain)];
  for (size_t step = 0; step < kMaxSteps; ++step) {
    const bool from_probation =
        probation.oldest != nullptr &&
        // S3-FIFO: probation gives up nodes while it has a tenth of all or
        // more.
        (main.oldest == nullptr ||
         probation.size * 10 >= probation.size + main.size);
    HotNode* node = from_probation ? probation.oldest : main.oldest;
    if (node == nullptr) return nullptr;
    const uint8_t uses = node->uses.load(std::memory_order_relaxed);
    if (uses == 0) return node;
    node->uses.store(from_probation ? 0 : uses - 1, std::memory_order_relaxed);
    RemoveLocked(shard, node);
    PushLocked(shard, node, HotQueue::kMain);
  }
  return probation.oldest != nullptr ? probation.oldest : main.oldest;
}

Home HotCache::TakeLocked(Shard& shard, HotNode* node) {
  if (node == nullptr) return Home();
  RemoveLocked(shard, node);
  // A home is alive as long as its node is linked.
  return node->PinHome();
}

void HotCache::Move(HotNode* node, HomePointer home, HotNodes& ring) {
  node->home.store(home.bits, std::memory_order_release);
  // Whoever read the old home under one of these locks has pinned it by now.
  {
    MutexLock lock(&ShardOf(node).mu);
  }
  ring.Settle();
}

Home HotCache::PickDirty() {
  const uint32_t start = next_shard_.fetch_add(1, std::memory_order_relaxed);
  for (size_t i = 0; i < shards_.size(); ++i) {
    Shard& shard = shards_[(start + i) % shards_.size()];
    MutexLock lock(&shard.mu);
    Home taken = TakeLocked(shard, OldestDirtyLocked(shard));
    if (taken) return taken;
  }
  return Home();
}

Home HotCache::PickClean() {
  const uint32_t start = next_shard_.fetch_add(1, std::memory_order_relaxed);
  for (size_t i = 0; i < shards_.size(); ++i) {
    Shard& shard = shards_[(start + i) % shards_.size()];
    MutexLock lock(&shard.mu);
    Home taken = TakeLocked(shard, CleanVictimLocked(shard));
    if (taken) return taken;
  }
  return Home();
}

}  // namespace ramvol::engine
