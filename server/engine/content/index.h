// The index of a volume or snapshot: a radix tree from chunk numbers to chunk
// entries. It has nodes only where something is stored.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_INDEX_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_INDEX_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "base/counters.h"
#include "base/mutex.h"
#include "server/engine/content/layer.h"
#include "server/engine/content/node.h"
#include "server/engine/content/record.h"
#include "server/engine/types/blocks.h"
#include "server/engine/types/options.h"

namespace ramvol::engine {

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

// The last chunk of the largest volume.
inline constexpr uint64_t kLastChunk = kMaxVolumeBytes / kChunkBytes;

// The nodes of a root, which may be shared with other roots. Whoever has one
// has a reference to its top node.
struct Tree {
  Node* root = nullptr;
  // The root's level; it covers kFanout^(level + 1) chunks. Leaves are at level
  // 0.
  int level = 0;
};

// Two indexes may share nodes. Nodes below a shared one are shared, too. An
// index changes only what is its own, and copies first what is not.
//
// Thread-safe under lock(), as annotated: look-ups and additions share it; what
// copies, removes or shares nodes takes it exclusively.
class Index {
 public:
  // The index below the top of `record`, which it borrows. Covers chunks below
  // `chunks`, and what there is.
  Index(Record& record, uint64_t chunks);
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  StripedLock& lock() const ABSL_LOCK_RETURNED(lock_) { return lock_; }

  // The leaf that covers `chunk`, or nullptr.
  Leaf* Find(uint64_t chunk) const ABSL_SHARED_LOCKS_REQUIRED(lock_);

  struct OwnLeaf {
    Leaf* leaf = nullptr;
    bool shared = false;  // Then `leaf` is nullptr. Call Unshare.
  };
  // The same for a change. With `create`, a leaf that is missing is made at
  // Priority::kGuaranteed and charged to `layer`.
  OwnLeaf FindOwn(uint64_t chunk, bool create,
                  const std::shared_ptr<Layer>& layer)
      ABSL_SHARED_LOCKS_REQUIRED(lock_);
  // Replaces the shared nodes on the way to `chunk` by copies, which are
  // charged to `layer`. `copy_leaf` returns a copy of a leaf. The references to
  // the old nodes move to `*out`.
  using CopyLeaf = absl::FunctionRef<Leaf*(Leaf*)>;
  void Unshare(uint64_t chunk, const std::shared_ptr<Layer>& layer,
               CopyLeaf copy_leaf, std::vector<Tree>* out)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  struct Position {
    uint64_t first_chunk;  // Of the leaf.
    Leaf* leaf;
  };
  // The first leaf that covers `chunk` or a later one. A walk over many indexes
  // gives its number: it then sees shared nodes through one of them only, as a
  // rule. 0 sees all.
  std::optional<Position> FindFrom(uint64_t chunk, uint32_t walk = 0) const
      ABSL_SHARED_LOCKS_REQUIRED(lock_);

  // Makes the index cover chunks below `chunks`. Never shrinks it.
  void Grow(uint64_t chunks, const std::shared_ptr<Layer>& layer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Frees own empty leaves that cover chunks `first` to `last`, and inner nodes
  // that become empty.
  void Prune(uint64_t first, uint64_t last)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Takes out all nodes that cover chunks `first` to `last` and no other. The
  // references move to `*out`. Leaves that cover others as well stay.
  void Detach(uint64_t first, uint64_t last,
              const std::shared_ptr<Layer>& layer, std::vector<Tree>* out)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  // A new reference to all of it.
  Tree Share() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // The same without a reference of its own.
  Tree PeekTree() const ABSL_SHARED_LOCKS_REQUIRED(lock_) {
    return {root().load(std::memory_order_acquire), root_level_};
  }
  // Takes over the reference of `tree`, the size and the description, by one
  // store. What there was moves to `*before` and `*description`; if that is
  // nullptr, the description stays.
  void Become(const Tree& tree, uint64_t size_bytes, TextPiece** description,
              std::vector<Tree>* before) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // The same for the size and the description. Call Grow first.
  void Resize(uint64_t size_bytes, TextPiece** description)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  enum class Which { kAll, kOwn };
  // A step of a walk over all nodes, or over those that are not shared: calls
  // visit(node, level, own) for those that begin at `chunk`, the first of a
  // leaf, or later, each before what is below it, until it has visited a leaf.
  // Returns the first chunk behind the leaf, or nullopt when there was none.
  // So no step holds the lock for long.
  using VisitNode = absl::FunctionRef<void(Node*, int level, bool own)>;
  std::optional<uint64_t> VisitFrom(uint64_t chunk, Which which,
                                    VisitNode visit) const
      ABSL_SHARED_LOCKS_REQUIRED(lock_);

  // log2 of the chunks that a child of a node at `level` covers.
  static int ChildShift(int level) { return kFanoutBits * level; }

 private:
  using Link = std::atomic<Node*>;

  Link& root() const { return record_.top().root; }
  bool Covers(uint64_t chunk) const;
  // Makes another top the current one, by one store; the root that there was.
  Node* ChangeTop(Node* root, uint64_t size_bytes, TextPiece** description);
  static Link& ChildOf(Node* node, int level, uint64_t chunk) {
    return static_cast<Inner*>(node)
        ->children[(chunk >> ChildShift(level)) % kFanout];
  }
  static Node* NewNodeAt(int level, uint64_t chunk,
                         const std::shared_ptr<Layer>& layer);
  // Replaces a shared inner node by a copy.
  static Inner* CopyInner(Inner* inner, const std::shared_ptr<Layer>& layer);
  static std::optional<Position> FindBelow(Node* node, int level, uint64_t base,
                                           uint64_t chunk, uint32_t walk);
  // Returns whether `node` is empty afterwards.
  static bool PruneBelow(Node* node, int level, uint64_t base, uint64_t first,
                         uint64_t last);
  static void DetachBelow(Link* link, int level, uint64_t base, uint64_t first,
                          uint64_t last, const std::shared_ptr<Layer>& layer,
                          std::vector<Tree>* out);
  static std::optional<uint64_t> VisitBelow(Node* node, bool own,
                                            uint64_t chunk, Which which,
                                            VisitNode visit);

  Record& record_;
  mutable StripedLock lock_;
  // Written under the exclusive lock.
  int root_level_ = 0;
};

// Drops a reference to a tree. With the last reference to a node, calls
// empty(leaf), which must leave no entry, and frees the node.
void ReleaseTree(const Tree& tree, absl::FunctionRef<void(Leaf*)> empty);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_INDEX_H_
