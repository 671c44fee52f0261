// The content of a volume: its index and entries, and Edit, the one way to
// change a chunk.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_CONTENT_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_CONTENT_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"
#include "base/mutex.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/frame.h"
#include "server/engine/content/hot_cache.h"
#include "server/engine/content/hot_node.h"
#include "server/engine/content/index.h"
#include "server/engine/content/refusal.h"
#include "server/engine/memory/account.h"
#include "server/engine/memory/arena.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

// Frames and pages that edits replaced. Pass it to Content::Free when no lock
// is held.
struct Replaced {
  absl::InlinedVector<Frame*, 4> frames;
  absl::InlinedVector<PageId, kBlocksPerChunk> pages;
  // A frame became mostly dead: rewriting it saves memory.
  bool mostly_dead = false;
};

// A caller prepares a change without locks and does everything that can fail:
// ChunkRefs hold what it reads, and what it stores is allocated. Then Edit
// commits the change, which cannot fail for memory. The edit function itself
// checks that the chunk still holds what the change was made from. Only Edit,
// Clear and MoveMaps write entries.
//
// Snapshots and clones will share an index root here. Code that only looks at
// chunks will not need to know. The three functions that write entries will
// copy what is shared first.
//
// Thread-safe. No lock is held while bytes are copied, compressed or
// decompressed. Lock order: ARCHITECTURE.md, "Locks". Borrows its arguments,
// which must outlive it. Charges what it stores to `account`.
class Content {
 public:
  // All of `size_bytes` are holes. The queues of `hot` refer to chunks by
  // `owner`.
  Content(ChunkOwner& owner, Account& account, HotCache& hot,
          uint64_t size_bytes);
  // Frees everything.
  ~Content();

  Content(const Content&) = delete;
  Content& operator=(const Content&) = delete;

  uint64_t size_bytes() const {
    return size_bytes_.load(std::memory_order_acquire);
  }
  // Once closed, everything but Clear is refused as kDeleted.
  bool closed() const { return closed_.load(std::memory_order_acquire); }
  const Gauges& gauges() const { return gauges_; }

  // Data calls take it shared; closing and resizing take it exclusively.
  StripedLock& lock() const ABSL_LOCK_RETURNED(index_.lock()) {
    return index_.lock();
  }
  void CloseLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock()) {
    closed_.store(true, std::memory_order_release);
  }
  // Keeps what lies past a smaller end; use Clear.
  void SetSizeLocked(uint64_t size_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock());

  // Calls look(map) under the chunk's lock. `look` may take references but must
  // not copy bytes. If it returns true, the chunk counts as touched. Refuses,
  // without the call, when closed (kDeleted) or smaller than `end` (kShrunk).
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
    MutexLock lock(&leaf->mu);
    if (look(ChunkMap::Unpack(leaf->entries[chunk % kFanout]))) {
      leaf->unsettled = true;
    }
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

  // The first chunk of the first leaf that covers `chunk` or a later one;
  // nullopt when there is none or the content is closed.
  std::optional<uint64_t> FindLeaf(uint64_t chunk) const;

  // A leaf, as a visit sees it under the leaf's lock.
  struct LeafView {
    const uint64_t first_chunk;
    // Bit i: entries[i], of chunk first_chunk + i, is not a hole.
    const uint64_t present;
    const std::array<ChunkEntry, kFanout>& entries;
    // Something changed since merging last looked, which also resets it.
    bool& unsettled;
  };
  // Calls visit(view) for the leaf that FindLeaf finds. Returns the first chunk
  // behind the leaf, or nullopt when there was none.
  template <typename Function>
  std::optional<uint64_t> VisitLeaf(uint64_t chunk,
                                    const Function& visit) const {
    StripedReaderLock index_lock(&index_.lock());
    if (!CheckLocked(0).ok()) return std::nullopt;
    const std::optional<Index::Position> position = index_.FindFrom(chunk);
    if (!position.has_value()) return std::nullopt;
    Leaf* leaf = position->leaf;
    MutexLock lock(&leaf->mu);
    visit(LeafView{position->first_chunk, leaf->present, leaf->entries,
                   leaf->unsettled});
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
  // Calls edit(map) under the chunk's lock, then stores `map` as the chunk's
  // new content. Links its hot node, updates the gauges, and adds what was
  // replaced to `*replaced`. Allocates metadata at Priority::kGuaranteed:
  // callers must have admitted it. Refuses like Look; then nothing has changed
  // and `edit` was not called.
  Refusal Edit(const Target& target, Replaced* replaced,
               absl::FunctionRef<void(ChunkMap&)> edit);
  // For use within an edit. SetHot puts a block into the hot overlay; the
  // caller's reference to `page` moves to the map. DropHot takes `blocks` out.
  void SetHot(ChunkMap& map, uint64_t chunk, int block, PageId page,
              bool dirty);
  static void DropHot(ChunkMap& map, BlockMask blocks, Replaced* replaced);
  // Releases the frames and pages. Their memory is freed with the last
  // reference.
  void Free(Replaced* replaced);

  // Turns chunks `first` to `last` into holes. Works when closed, too.
  void Clear(uint64_t first, uint64_t last);
  // Moves the packed maps of the leaf at `first_chunk` that Arena::ShouldMove
  // names.
  void MoveMaps(uint64_t first_chunk);
  // A chunk with hot blocks; successive calls go through all of them in turn.
  std::optional<uint64_t> NextHotChunk() { return hot_nodes_.Rotate(); }
  size_t hot_chunks() const { return hot_nodes_.size(); }

 private:
  Refusal CheckLocked(uint64_t end) const ABSL_SHARED_LOCKS_REQUIRED(lock()) {
    if (closed_.load(std::memory_order_relaxed)) return {Cause::kDeleted};
    if (end > size_bytes()) return {Cause::kShrunk};
    return Refusal();
  }
  // Returns whether the leaf is empty afterwards.
  bool EditLocked(Leaf* leaf, uint64_t chunk, Replaced* replaced,
                  absl::FunctionRef<void(ChunkMap&)> edit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(leaf->mu);
  // Links or frees the hot node that an edit made, changed or emptied.
  // `was_hot` and `was_dirty` are its blocks before the edit.
  void SettleHot(ChunkMap& map, BlockMask was_hot, BlockMask was_dirty);
  void AddCensus(const Census& before, const Census& after);
  void Prune(uint64_t first, uint64_t last);

  ChunkOwner& owner_;
  Account& account_;
  HotCache& hot_;

  std::atomic<uint64_t> size_bytes_;
  // Written under the index's exclusive lock.
  std::atomic<bool> closed_{false};
  Index index_;
  HotNodes hot_nodes_;
  Gauges gauges_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_CONTENT_H_
