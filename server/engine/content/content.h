// The content of a volume or snapshot: its index and entries, and the one way
// to change a chunk.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_CONTENT_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_CONTENT_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "base/small_mutex.h"
#include "server/engine/content/chunk_edit.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/home.h"
#include "server/engine/content/hot_cache.h"
#include "server/engine/content/index.h"
#include "server/engine/content/layer.h"
#include "server/engine/content/node.h"
#include "server/engine/content/record.h"
#include "server/engine/content/recovery.h"
#include "server/engine/content/refusal.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

// A caller prepares a change without locks and does everything that can fail:
// ChunkRefs hold what it reads, and what it stores is allocated. Then an edit
// commits the change, which cannot fail for memory. The edit function itself
// checks that the chunk still holds what the change was made from.
//
// Contents share index nodes and cells. Edit, Clear and Become change what this
// content holds, and copy what is shared first. Keep (below) and
// KeepAt (chunk_edit.h) change only how it is held, for all who share it.
//
// Thread-safe. No lock is held while bytes are copied, compressed or
// decompressed. Lock order: ARCHITECTURE.md, "Locks". Borrows `hot`, which must
// outlive it.
class Content {
 public:
  // The content below `record`, which it borrows; its size is that of the
  // record's top. Charges what it stores to `layer`.
  Content(std::shared_ptr<Layer> layer, HotCache& hot, Record& record);
  // Frees what it does not share, unless it was left.
  ~Content();

  Content(const Content&) = delete;
  Content& operator=(const Content&) = delete;

  uint64_t size_bytes() const {
    return size_bytes_.load(std::memory_order_acquire);
  }
  // Takes over what is below the record, which `recovery` has claimed. `shared`
  // pays for what it shares with others.
  void Recover(Recovery& recovery, const std::shared_ptr<Layer>& shared);
  // Leaves what is below the record to a later process. Nobody may use it any
  // more, but the destructor frees nothing.
  void Leave();
  // Closes it. What `recovery` could follow of a damaged one, which is not
  // below the record, is charged to it, and stays until it is left or
  // FreeSealed.
  void Seal(Recovery& recovery, const Tree& tree,
            const std::shared_ptr<Layer>& shared);
  void FreeSealed();

  // Once closed, everything but Clear is refused as kDeleted.
  bool closed() const { return closed_.load(std::memory_order_acquire); }
  // The current layer. Prepare with it, and pass it to the edit: a snapshot may
  // end the layer between the two.
  std::shared_ptr<Layer> layer() const;
  // Whether it may share nodes with others: an edit may then have to copy some.
  bool may_share() const { return may_share_.load(std::memory_order_relaxed); }

  // Data calls take it shared; closing, resizing and sharing take it
  // exclusively.
  StripedLock& lock() const ABSL_LOCK_RETURNED(index_.lock()) {
    return index_.lock();
  }
  // Held shared over an operation that takes several edits, so that a snapshot
  // has all of them or none. It comes before lock().
  StripedLock& whole_operations() const { return whole_operations_; }
  void CloseLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock()) {
    closed_.store(true, std::memory_order_release);
  }
  // Keeps what lies past a smaller end; use Clear. The description changes with
  // it, by one store: `*description` is the earlier one afterwards. nullptr: it
  // stays.
  void SetSizeLocked(uint64_t size_bytes, TextPiece** description)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock());
  void SetSizeLocked(uint64_t size_bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock()) {
    TextPiece* same = nullptr;
    SetSizeLocked(size_bytes, &same);
  }

  // Calls look(map) under the chunk's lock, which readers share. `look` may
  // take references but must not copy bytes. If it returns true, the chunk
  // counts as touched. Refuses, without the call, when closed (kDeleted) or
  // smaller than `end` (kShrunk).
  template <typename Function>
  Refusal Look(uint64_t chunk, uint64_t end, const Function& look) const {
    StripedReaderLock index_lock(&index_.lock());
    const Refusal refusal = CheckLocked(end);
    if (!refusal.ok()) return refusal;
    Leaf* leaf = index_.Find(chunk);
    if (leaf == nullptr) {
      look(ChunkMap());
      return Refusal();
    }
    SmallReaderLock lock(&leaf->mu);
    if (LookInside(leaf->entries[chunk % kFanout], look)) Unsettle(leaf);
    return Refusal();
  }
  // Takes references for `blocks` of the chunk. Refuses like Look.
  Refusal Take(uint64_t chunk, uint64_t end, BlockMask blocks,
               ChunkRefs* refs) const {
    return Look(chunk, end, [&](const ChunkMap& map) {
      refs->Take(map, blocks);
      return false;
    });
  }
  // The chunk's home; empty when the chunk is a hole or the content is closed.
  Home FindHome(uint64_t chunk) const;

  // The first chunk of the first leaf that covers `chunk` or a later one;
  // nullopt when there is none or the content is closed. `walk` as
  // Index::FindFrom has it.
  std::optional<uint64_t> FindLeaf(uint64_t chunk, uint32_t walk = 0) const;

  // A leaf, as a visit sees it under the leaf's lock, which readers share.
  class LeafView {
   public:
    explicit LeafView(Leaf* leaf) : leaf_(*leaf) {}
    uint64_t first_chunk() const { return leaf_.first_chunk; }
    // Bit i: chunk first_chunk() + i is not a hole.
    uint64_t present() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return leaf_.present;
    }
    // Calls look(entry), which is not a cell's, with all locks that it needs.
    template <typename Function>
    void LookAt(int i,
                const Function& look) const ABSL_NO_THREAD_SAFETY_ANALYSIS {
      Cell* cell = CellOf(leaf_.entries[i]);
      if (cell == nullptr) {
        look(leaf_.entries[i]);
        return;
      }
      SmallReaderLock lock(&cell->mu);
      look(cell->entry);
    }
    Home PinHome(int i) const ABSL_NO_THREAD_SAFETY_ANALYSIS {
      Cell* cell = CellOf(leaf_.entries[i]);
      return Home(
          cell != nullptr ? HomePointer::Of(cell) : HomePointer::Of(&leaf_),
          leaf_.first_chunk + i);
    }
    // Something changed since merging last looked. Merging resets it.
    std::atomic<bool>& unsettled() const { return leaf_.unsettled; }

   private:
    Leaf& leaf_;
  };
  // Calls visit(view) for the leaf that FindLeaf finds. Returns the first chunk
  // behind the leaf, or nullopt when there was none.
  template <typename Function>
  std::optional<uint64_t> VisitLeaf(uint64_t chunk, const Function& visit,
                                    uint32_t walk = 0) const {
    StripedReaderLock index_lock(&index_.lock());
    if (!CheckLocked(0).ok()) return std::nullopt;
    const std::optional<Index::Position> position =
        index_.FindFrom(chunk, walk);
    if (!position.has_value()) return std::nullopt;
    Leaf* leaf = position->leaf;
    SmallReaderLock lock(&leaf->mu);
    visit(LeafView(leaf));
    return position->first_chunk + kFanout;
  }

  struct Target {
    uint64_t chunk = 0;
    // Refuse if the volume has become smaller than this.
    uint64_t end = 0;
    // Create the chunk's leaf if there is none. Without this, the edit of a
    // chunk without a leaf sees a map of holes and must not change it.
    bool create = false;
  };
  // Most memory that edits of `chunks` neighbours take for metadata: each for
  // its index nodes, a hot node and the packed map; and, where nodes may be
  // shared, for copies of the leaves and of all that is above them, with cells.
  uint64_t MetadataBytes(size_t chunks) const {
    constexpr uint64_t kChunkMetadataBytes = 1024;
    constexpr uint64_t kLeafCopyBytes = 12288;
    const uint64_t leaves = may_share() ? chunks / kFanout + 2 : 0;
    return chunks * kChunkMetadataBytes + leaves * kLeafCopyBytes;
  }
  // Calls edit(map) under the chunk's lock, then stores `map` as the chunk's
  // new content. What `edit` puts into it must be charged to `editor`. Adds
  // what was replaced to `*replaced`. Allocates metadata at
  // Priority::kGuaranteed: callers must have admitted it. Refuses like Look;
  // then nothing has changed and `edit` was not called.
  Refusal Edit(const Target& target, Layer& editor, Replaced* replaced,
               absl::FunctionRef<void(ChunkMap&)> edit);
  // The same for an edit after which all blocks read as before. Changes shared
  // chunks in their place.
  Refusal Keep(uint64_t chunk, Layer& editor, Replaced* replaced,
               absl::FunctionRef<void(ChunkMap&)> edit);

  // Turns chunks `first` to `last` into holes, in one step. Works when closed,
  // too.
  void Clear(uint64_t first, uint64_t last);
  // Moves the packed maps of the leaf at `first_chunk` that Arena::ShouldMove
  // names.
  void MoveMaps(uint64_t first_chunk);
  // Charges leaves of older layers that nobody else refers to any more to the
  // current one; that of the leaf at `first_chunk`.
  void AdoptLeaf(uint64_t first_chunk);

  // Shares all of it: the reference is for BecomeLocked. `*layer` and the
  // current layer change places. The caller has whole_operations() exclusively,
  // too.
  Tree ShareLocked(std::shared_ptr<Layer>* layer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock());
  // The same without ending the layer: of a snapshot, which writes nothing.
  Tree ShareLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock());
  // Takes over `tree` and the size in the place of what there is, which moves
  // to `*before`: call Release for it without the lock. `*description` as in
  // SetSizeLocked.
  void BecomeLocked(const Tree& tree, uint64_t size_bytes,
                    TextPiece** description, std::vector<Tree>* before)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock());
  void BecomeLocked(const Tree& tree, uint64_t size_bytes,
                    std::vector<Tree>* before)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock()) {
    TextPiece* same = nullptr;
    BecomeLocked(tree, size_bytes, &same, before);
  }
  void Release(const std::vector<Tree>& trees);

  // Calls changed(chunk, blocks) in order for chunks of [first, last] in which
  // blocks may differ from those of `other`; until it returns false. Costs
  // what differs.
  using Changed = absl::FunctionRef<bool(uint64_t chunk, BlockMask blocks)>;
  Refusal Compare(const Content& other, uint64_t first, uint64_t last,
                  Changed changed) const;

  struct Usage {
    Census census;
    // Of all that it refers to, and of that part of it that only it refers to.
    uint64_t memory_bytes = 0;
    uint64_t own_bytes = 0;
  };
  // Costs a walk over the leaves, which holds the lock for one at a time. So it
  // is exact only while nobody changes anything.
  Usage Measure() const;
  // The same as Measure().own_bytes. Costs a walk over what is its own.
  uint64_t OwnBytes() const;

 private:
  template <typename Function>
  static bool LookInside(ChunkEntry entry, const Function& look) {
    Cell* cell = CellOf(entry);
    if (cell == nullptr) return look(ChunkMap::Unpack(entry));
    SmallReaderLock lock(&cell->mu);
    return look(ChunkMap::Unpack(cell->entry));
  }
  static void Unsettle(Leaf* leaf) {
    if (leaf->unsettled.load(std::memory_order_relaxed)) return;
    leaf->unsettled.store(true, std::memory_order_relaxed);
  }
  Refusal CheckLocked(uint64_t end) const ABSL_SHARED_LOCKS_REQUIRED(lock()) {
    if (closed_.load(std::memory_order_relaxed)) return {Cause::kDeleted};
    if (end > size_bytes()) return {Cause::kShrunk};
    return Refusal();
  }
  // VisitFrom, step by step.
  void Walk(Index::Which which, Index::VisitNode visit) const
      ABSL_LOCKS_EXCLUDED(lock());
  // AdoptLeaf for some chunks. Whether there are more.
  bool AdoptSome(uint64_t first_chunk) ABSL_LOCKS_EXCLUDED(lock());
  enum class Step { kDone, kEmptied, kShared };
  Step TryEditLocked(const Target& target, Layer& editor, Replaced* replaced,
                     absl::FunctionRef<void(ChunkMap&)> edit)
      ABSL_SHARED_LOCKS_REQUIRED(lock());
  // Copies the shared nodes on the way to the chunk.
  void Unshare(uint64_t chunk);
  // The same. What it replaced moves to `*before`.
  void UnshareLocked(uint64_t chunk, std::vector<Tree>* before)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock());
  void Prune(uint64_t first, uint64_t last);
  // Makes holes of those of chunks `first` to `last` that are in the leaf of
  // `chunk`.
  void ClearPartLocked(uint64_t chunk, uint64_t first, uint64_t last,
                       std::vector<Tree>* detached, Replaced* replaced)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock());

  HotCache& hot_;
  bool left_ = false;
  // Of Seal.
  Tree sealed_;
  std::shared_ptr<const Damage> damage_;
  std::atomic<uint64_t> size_bytes_;
  // Written under the index's exclusive lock.
  std::atomic<bool> closed_{false};
  std::atomic<bool> may_share_{false};
  Index index_;
  mutable StripedLock whole_operations_;
  // Written under the index's exclusive lock.
  std::shared_ptr<Layer> layer_ ABSL_GUARDED_BY(index_.lock());
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_CONTENT_H_
