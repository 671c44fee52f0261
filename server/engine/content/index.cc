#include "server/engine/content/index.h"

#include <algorithm>
#include <new>

namespace ramvol::engine {

Index::Index(Account& account, uint64_t chunks) : account_(account) {
  while (!Covers(chunks - 1)) ++root_level_;
}

Index::~Index() {
  if (void* root = root_.load(std::memory_order_relaxed)) {
    DeleteBelow(root, root_level_);
  }
}

bool Index::Covers(uint64_t chunk) const {
  const int shift = ChildShift(root_level_ + 1);
  return shift >= 64 || chunk >> shift == 0;
}

void* Index::NewNode(int level, Priority priority) {
  if (level == 0) {
    void* memory = account_.New(sizeof(Leaf), priority);
    return memory == nullptr ? nullptr : new (memory) Leaf;
  }
  void* memory = account_.New(sizeof(Inner), priority);
  return memory == nullptr ? nullptr : new (memory) Inner;
}

void Index::DeleteNode(void* node, int level) {
  if (level == 0) {
    static_cast<Leaf*>(node)->~Leaf();
    account_.Delete(node, sizeof(Leaf));
  } else {
    account_.Delete(node, sizeof(Inner));
  }
}

Leaf* Index::Find(uint64_t chunk) const {
  if (!Covers(chunk)) return nullptr;
  void* node = root_.load(std::memory_order_acquire);
  for (int level = root_level_; level > 0 && node != nullptr; --level) {
    const size_t child = (chunk >> ChildShift(level)) % kFanout;
    node = static_cast<Inner*>(node)->children[child].load(
        std::memory_order_acquire);
  }
  return static_cast<Leaf*>(node);
}

Leaf* Index::FindOrCreate(uint64_t chunk, Priority priority) {
  std::atomic<void*>* link = &root_;
  for (int level = root_level_;; --level) {
    void* node = link->load(std::memory_order_acquire);
    if (node == nullptr) {
      void* made = NewNode(level, priority);
      if (made == nullptr) return nullptr;
      // The lock is shared, so another thread may be creating the same node.
      if (link->compare_exchange_strong(node, made,
                                        std::memory_order_acq_rel)) {
        node = made;
      } else {
        // Another thread was first. The exchange set `node` to its node.
        DeleteNode(made, level);
      }
    }
    if (level == 0) return static_cast<Leaf*>(node);
    const size_t child = (chunk >> ChildShift(level)) % kFanout;
    link = &static_cast<Inner*>(node)->children[child];
  }
}

std::optional<Index::Position> Index::FindFrom(uint64_t chunk) const {
  void* root = root_.load(std::memory_order_acquire);
  if (root == nullptr || !Covers(chunk)) return std::nullopt;
  return FindBelow(root, root_level_, 0, chunk);
}

std::optional<Index::Position> Index::FindBelow(void* node, int level,
                                                uint64_t base,
                                                uint64_t chunk) const {
  if (level == 0) return Position{base, static_cast<Leaf*>(node)};
  const int shift = ChildShift(level);
  size_t child = chunk > base ? (chunk - base) >> shift : 0;
  for (; child < kFanout; ++child) {
    void* below = static_cast<Inner*>(node)->children[child].load(
        std::memory_order_acquire);
    if (below == nullptr) continue;
    auto found =
        FindBelow(below, level - 1, base + (uint64_t{child} << shift), chunk);
    if (found.has_value()) return found;
  }
  return std::nullopt;
}

void Index::Grow(uint64_t chunks) {
  // The root becomes the first child of a new one, so no entry moves.
  while (!Covers(chunks - 1)) {
    void* root = root_.load(std::memory_order_relaxed);
    if (root != nullptr) {
      void* above = NewNode(root_level_ + 1, Priority::kGuaranteed);
      static_cast<Inner*>(above)->children[0].store(root,
                                                    std::memory_order_relaxed);
      root_.store(above, std::memory_order_release);
    }
    ++root_level_;
  }
}

void Index::Prune(uint64_t first, uint64_t last) {
  void* root = root_.load(std::memory_order_relaxed);
  if (root == nullptr || !PruneBelow(root, root_level_, 0, first, last)) return;
  root_.store(nullptr, std::memory_order_relaxed);
  DeleteNode(root, root_level_);
}

bool Index::PruneBelow(void* node, int level, uint64_t base, uint64_t first,
                       uint64_t last) {
  if (level == 0) {
    Leaf* leaf = static_cast<Leaf*>(node);
    MutexLock lock(&leaf->mu);
    return leaf->present == 0;
  }
  const int shift = ChildShift(level);
  bool empty = true;
  for (size_t child = 0; child < kFanout; ++child) {
    std::atomic<void*>& link = static_cast<Inner*>(node)->children[child];
    void* below = link.load(std::memory_order_relaxed);
    if (below == nullptr) continue;
    const uint64_t child_base = base + (uint64_t{child} << shift);
    const bool in_range = child_base <= last &&
                          child_base + ((uint64_t{1} << shift) - 1) >= first;
    if (!in_range || !PruneBelow(below, level - 1, child_base, first, last)) {
      empty = false;
      continue;
    }
    link.store(nullptr, std::memory_order_relaxed);
    DeleteNode(below, level - 1);
  }
  return empty;
}

void Index::DeleteBelow(void* node, int level) {
  if (level > 0) {
    for (std::atomic<void*>& link : static_cast<Inner*>(node)->children) {
      void* below = link.load(std::memory_order_relaxed);
      if (below != nullptr) DeleteBelow(below, level - 1);
    }
  }
  DeleteNode(node, level);
}

}  // namespace ramvol::engine
