#include "server/engine/content/index.h"

#include <algorithm>
#include <utility>

#include "server/engine/content/publish.h"

namespace ramvol::engine {

Index::Index(Record& record, uint64_t chunks) : record_(record) {
  const Node* node = root().load(std::memory_order_acquire);
  if (node != nullptr) root_level_ = node->level;
  while (!Covers(chunks - 1)) ++root_level_;
}

bool Index::Covers(uint64_t chunk) const {
  const int shift = ChildShift(root_level_ + 1);
  return shift >= 64 || chunk >> shift == 0;
}

Node* Index::NewNodeAt(int level, uint64_t chunk,
                       const std::shared_ptr<Layer>& layer) {
  if (level > 0) {
    void* memory = layer->account.New(sizeof(Inner), Priority::kGuaranteed);
    const int shift = ChildShift(level + 1);
    const uint64_t first = shift >= 64 ? 0 : chunk >> shift << shift;
    return new (memory) Inner(level, first, layer);
  }
  return NewNode<Leaf>(chunk / kFanout * kFanout, layer, Priority::kGuaranteed);
}

Leaf* Index::Find(uint64_t chunk) const {
  if (!Covers(chunk)) return nullptr;
  Node* node = root().load(std::memory_order_acquire);
  for (int level = root_level_; level > 0 && node != nullptr; --level) {
    node = ChildOf(node, level, chunk).load(std::memory_order_acquire);
  }
  return static_cast<Leaf*>(node);
}

Index::OwnLeaf Index::FindOwn(uint64_t chunk, bool create,
                              const std::shared_ptr<Layer>& layer) {
  if (!create && !Covers(chunk)) return {};
  Link* link = &root();
  for (int level = root_level_;; --level) {
    Node* node = link->load(std::memory_order_acquire);
    if (node == nullptr) {
      if (!create) return {};
      Node* made = NewNodeAt(level, chunk, layer);
      // The lock is shared, so another thread may be creating the same node.
      if (link->compare_exchange_strong(node, made,
                                        std::memory_order_acq_rel)) {
        node = made;
      } else {
        // Another thread was first. The exchange set `node` to its node.
        ReleaseTree({made, level}, [](Leaf*) {});
      }
    }
    if (node->count.shared()) return {.shared = true};
    if (level == 0) return {.leaf = static_cast<Leaf*>(node)};
    link = &ChildOf(node, level, chunk);
  }
}

Inner* Index::CopyInner(Inner* inner, const std::shared_ptr<Layer>& layer) {
  void* memory = layer->account.New(sizeof(Inner), Priority::kGuaranteed);
  Inner* copy = new (memory) Inner(inner->level, inner->first_chunk, layer);
  for (int i = 0; i < kFanout; ++i) {
    Node* child = inner->children[i].load(std::memory_order_acquire);
    if (child == nullptr) continue;
    child->count.Ref();
    copy->children[i].store(child, std::memory_order_relaxed);
  }
  return copy;
}

void Index::Unshare(uint64_t chunk, const std::shared_ptr<Layer>& layer,
                    CopyLeaf copy_leaf, std::vector<Tree>* out) {
  if (!Covers(chunk)) return;
  Link* link = &root();
  for (int level = root_level_;; --level) {
    Node* node = link->load(std::memory_order_relaxed);
    if (node == nullptr) return;
    if (node->count.shared()) {
      Node* copy = level == 0
                       ? static_cast<Node*>(copy_leaf(static_cast<Leaf*>(node)))
                       : CopyInner(static_cast<Inner*>(node), layer);
      Publish(*link, static_cast<Node*>(copy));
      out->push_back({node, level});
      node = copy;
    }
    if (level == 0) return;
    link = &ChildOf(node, level, chunk);
  }
}

std::optional<Index::Position> Index::FindFrom(uint64_t chunk,
                                               uint32_t walk) const {
  Node* root = this->root().load(std::memory_order_acquire);
  if (root == nullptr || !Covers(chunk)) return std::nullopt;
  return FindBelow(root, root_level_, 0, chunk, walk);
}

std::optional<Index::Position> Index::FindBelow(Node* node, int level,
                                                uint64_t base, uint64_t chunk,
                                                uint32_t walk) {
  const bool once = walk != 0 && node->count.shared();
  if (once && node->walked.load(std::memory_order_relaxed) == walk) {
    return std::nullopt;
  }
  if (level == 0) {
    if (once) node->walked.store(walk, std::memory_order_relaxed);
    return Position{base, static_cast<Leaf*>(node)};
  }
  const int shift = ChildShift(level);
  size_t child = chunk > base ? (chunk - base) >> shift : 0;
  for (; child < kFanout; ++child) {
    Node* below = static_cast<Inner*>(node)->children[child].load(
        std::memory_order_acquire);
    if (below == nullptr) continue;
    auto found = FindBelow(below, level - 1, base + (uint64_t{child} << shift),
                           chunk, walk);
    if (found.has_value()) return found;
  }
  if (once) node->walked.store(walk, std::memory_order_relaxed);
  return std::nullopt;
}

void Index::Grow(uint64_t chunks, const std::shared_ptr<Layer>& layer) {
  // The root becomes the first child of a new one, so no entry moves.
  while (!Covers(chunks - 1)) {
    Node* root = this->root().load(std::memory_order_relaxed);
    if (root != nullptr) {
      Node* above = NewNodeAt(root_level_ + 1, 0, layer);
      static_cast<Inner*>(above)->children[0].store(root,
                                                    std::memory_order_relaxed);
      Publish(this->root(), above);
    }
    ++root_level_;
  }
}

void Index::Prune(uint64_t first, uint64_t last) {
  Node* root = this->root().load(std::memory_order_relaxed);
  if (root == nullptr || !PruneBelow(root, root_level_, 0, first, last)) return;
  Publish<Node*>(this->root(), nullptr);
  ReleaseTree({root, root_level_}, [](Leaf*) {});
}

bool Index::PruneBelow(Node* node, int level, uint64_t base, uint64_t first,
                       uint64_t last) {
  if (node->count.shared()) return false;
  if (level == 0) {
    Leaf* leaf = static_cast<Leaf*>(node);
    SmallMutexLock lock(&leaf->mu);
    return leaf->present == 0;
  }
  const int shift = ChildShift(level);
  bool empty = true;
  for (size_t child = 0; child < kFanout; ++child) {
    Link& link = static_cast<Inner*>(node)->children[child];
    Node* below = link.load(std::memory_order_relaxed);
    if (below == nullptr) continue;
    const uint64_t child_base = base + (uint64_t{child} << shift);
    const bool in_range = child_base <= last &&
                          child_base + ((uint64_t{1} << shift) - 1) >= first;
    if (!in_range || !PruneBelow(below, level - 1, child_base, first, last)) {
      empty = false;
      continue;
    }
    Publish<Node*>(link, nullptr);
    ReleaseTree({below, level - 1}, [](Leaf*) {});
  }
  return empty;
}

void Index::Detach(uint64_t first, uint64_t last,
                   const std::shared_ptr<Layer>& layer,
                   std::vector<Tree>* out) {
  DetachBelow(&root(), root_level_, 0, first, last, layer, out);
}

void Index::DetachBelow(Link* link, int level, uint64_t base, uint64_t first,
                        uint64_t last, const std::shared_ptr<Layer>& layer,
                        std::vector<Tree>* out) {
  Node* node = link->load(std::memory_order_relaxed);
  if (node == nullptr) return;
  // A root may cover more than there are numbers.
  const int shift = ChildShift(level + 1);
  const uint64_t end =
      shift >= 64 ? ~uint64_t{0} : base + ((uint64_t{1} << shift) - 1);
  if (end < first || base > last) return;
  if (base >= first && (end <= last || last >= kLastChunk)) {
    Publish<Node*>(*link, nullptr);
    out->push_back({node, level});
    return;
  }
  if (level == 0) return;
  if (node->count.shared()) {
    Inner* copy = CopyInner(static_cast<Inner*>(node), layer);
    Publish(*link, static_cast<Node*>(copy));
    out->push_back({node, level});
    node = copy;
  }
  bool empty = true;
  for (size_t child = 0; child < kFanout; ++child) {
    Link& below = static_cast<Inner*>(node)->children[child];
    DetachBelow(&below, level - 1,
                base + (uint64_t{child} << ChildShift(level)), first, last,
                layer, out);
    if (below.load(std::memory_order_relaxed) != nullptr) empty = false;
  }
  if (!empty) return;
  Publish<Node*>(*link, nullptr);
  out->push_back({node, level});
}

Tree Index::Share() const {
  Node* root = this->root().load(std::memory_order_relaxed);
  if (root != nullptr) root->count.Ref();
  return {root, root_level_};
}

Node* Index::ChangeTop(Node* root, uint64_t size_bytes,
                       TextPiece** description) {
  const uint32_t current = record_.current.load(std::memory_order_relaxed);
  Top& old = record_.tops[current];
  Top& next = record_.tops[1 - current];
  TextPiece* text = old.description.load(std::memory_order_relaxed);
  if (*description != nullptr) std::swap(text, *description);
  next.root.store(root, std::memory_order_relaxed);
  next.size_bytes.store(size_bytes, std::memory_order_relaxed);
  next.description.store(text, std::memory_order_relaxed);
  Publish(record_.current, 1 - current);
  old.description.store(nullptr, std::memory_order_relaxed);
  return old.root.exchange(nullptr, std::memory_order_acq_rel);
}

void Index::Become(const Tree& tree, uint64_t size_bytes,
                   TextPiece** description, std::vector<Tree>* before) {
  Node* replaced = ChangeTop(tree.root, size_bytes, description);
  if (replaced != nullptr) before->push_back({replaced, root_level_});
  root_level_ = std::max(tree.level, 0);
}

void Index::Resize(uint64_t size_bytes, TextPiece** description) {
  ChangeTop(root().load(std::memory_order_relaxed), size_bytes, description);
}

std::optional<uint64_t> Index::VisitFrom(uint64_t chunk, Which which,
                                         VisitNode visit) const {
  Node* root = this->root().load(std::memory_order_acquire);
  if (root == nullptr || !Covers(chunk)) return std::nullopt;
  return VisitBelow(root, true, chunk, which, visit);
}

std::optional<uint64_t> Index::VisitBelow(Node* node, bool own, uint64_t chunk,
                                          Which which, VisitNode visit) {
  own = own && !node->count.shared();
  if (which == Which::kOwn && !own) return std::nullopt;
  const uint64_t base = node->first_chunk;
  // Else an earlier step has visited it.
  if (base >= chunk) visit(node, node->level, own);
  if (node->level == 0) return base + kFanout;
  const int shift = ChildShift(node->level);
  size_t child = chunk > base ? (chunk - base) >> shift : 0;
  for (; child < kFanout; ++child) {
    Node* below = static_cast<Inner*>(node)->children[child].load(
        std::memory_order_acquire);
    if (below == nullptr) continue;
    const auto next = VisitBelow(below, own, chunk, which, visit);
    if (next.has_value()) return next;
  }
  return std::nullopt;
}

void ReleaseTree(const Tree& tree, absl::FunctionRef<void(Leaf*)> empty) {
  if (tree.root == nullptr || !tree.root->count.Unref()) return;
  if (tree.level == 0) {
    Leaf* leaf = static_cast<Leaf*>(tree.root);
    empty(leaf);
    Unpin(leaf);
    return;
  }
  Inner* inner = static_cast<Inner*>(tree.root);
  for (auto& link : inner->children) {
    ReleaseTree({link.load(std::memory_order_acquire), tree.level - 1}, empty);
  }
  Unpin(inner);
}

}  // namespace ramvol::engine
