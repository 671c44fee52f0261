// What a volume holds: its index, the entries in it, and the one door through
// which a chunk changes.
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

// What edits let go of. To be freed by Content::Free once no lock is held.
struct Replaced {
  absl::InlinedVector<Frame*, 4> frames;
  absl::InlinedVector<PageId, kBlocksPerChunk> pages;
  // A frame is left of which most is dead: making it anew saves memory.
  bool mostly_dead = false;
};

// A change of a chunk is prepared by whoever makes it, with no lock held and
// with everything that can fail: what it reads is held by ChunkRefs, what it
// stores is allocated. Then Edit commits it, which does not fail for memory;
// the edit itself looks whether the chunk still holds what it was made from.
// Nothing but Edit, Clear and MoveMaps writes an entry.
//
// Snapshots and clones will share an index root through here: whoever looks,
// takes references or visits a leaf needs not know whether others do so, too,
// and the three that write entries are where what is shared gets copied first.
//
// Thread-safe. No lock is held while bytes are copied, compressed or
// decompressed. Lock order: ARCHITECTURE.md, "Locks". Borrows what it is given,
// which must outlive it; what it stores is charged to `account`.
class Content {
 public:
  // Of `size_bytes`, all holes. The queues of `hot` name its chunks by `owner`.
  Content(ChunkOwner& owner, Account& account, HotCache& hot,
          uint64_t size_bytes);
  // Frees everything.
  ~Content();

  Content(const Content&) = delete;
  Content& operator=(const Content&) = delete;

  uint64_t size_bytes() const {
    return size_bytes_.load(std::memory_order_acquire);
  }
  // Once closed it refuses everything as kDeleted, but for Clear.
  bool closed() const { return closed_.load(std::memory_order_acquire); }
  const Gauges& gauges() const { return gauges_; }

  // Shared by all calls; held exclusively by what closes or resizes.
  StripedLock& lock() const ABSL_LOCK_RETURNED(index_.lock()) {
    return index_.lock();
  }
  void CloseLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock()) {
    closed_.store(true, std::memory_order_release);
  }
  // Leaves what lies past the new end; Clear it.
  void SetSizeLocked(uint64_t size_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock());

  // Calls look(map) with what the chunk holds, under its lock: to take
  // references, not to copy bytes. When it returns true, the chunk counts as
  // touched. Refuses, without a call, once it is closed (kDeleted) or smaller
  // than `end` (kShrunk).
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
  // Takes references for `blocks` of the chunk. Refuses as Look does.
  Refusal Take(uint64_t chunk, uint64_t end, BlockMask blocks,
               ChunkRefs* refs) const {
    return Look(chunk, end, [&](const ChunkMap& map) {
      refs->Take(map, blocks);
      return false;
    });
  }

  // The first chunk of the first leaf that covers `chunk` or a later one;
  // nullopt at the end, or once it is closed.
  std::optional<uint64_t> FindLeaf(uint64_t chunk) const;

  // What a visit sees of a leaf, under its lock.
  struct LeafView {
    const uint64_t first_chunk;
    // Bit i: entries[i], of chunk first_chunk + i, is not a hole.
    const uint64_t present;
    const std::array<ChunkEntry, kFanout>& entries;
    // Something changed since the merging worker looked; for it to reset.
    bool& unsettled;
  };
  // Calls visit(view) for the leaf that FindLeaf finds. Returns the first chunk
  // behind it, or nullopt when there was none.
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
    // Refuse when it has become smaller than this.
    uint64_t end = 0;
    // Make room for the chunk in the index. Else the edit of a chunk that is
    // not there sees a map of holes, and must leave it so.
    bool create = false;
  };
  // The door: calls edit(map) under the chunk's lock, and makes what it leaves
  // in `map` the chunk's content. Links its hot node, brings the gauges up to
  // date and adds what went to `*replaced`. Metadata is taken at
  // Priority::kGuaranteed: callers have admitted it. Refuses as Look does, and
  // then nothing has changed and `edit` was not called.
  Refusal Edit(const Target& target, Replaced* replaced,
               absl::FunctionRef<void(ChunkMap&)> edit);
  // Within an edit: puts a block into the hot overlay (the caller's reference
  // to `page` goes to the map), or takes `blocks` out of it.
  void SetHot(ChunkMap& map, uint64_t chunk, int block, PageId page,
              bool dirty);
  static void DropHot(ChunkMap& map, BlockMask blocks, Replaced* replaced);
  // Frees the frames and pages. Those who hold references keep the memory.
  void Free(Replaced* replaced);

  // Makes holes of chunks `first` to `last`, of those that there are. Works
  // when closed, too.
  void Clear(uint64_t first, uint64_t last);
  // Moves the entries' own memory, of all chunks of the leaf that `first_chunk`
  // is in, where Arena::ShouldMove says so.
  void MoveMaps(uint64_t first_chunk);
  // Names a chunk that has hot blocks, each in its turn.
  std::optional<uint64_t> NextHotChunk() { return hot_nodes_.Rotate(); }
  size_t hot_chunks() const { return hot_nodes_.size(); }

 private:
  Refusal CheckLocked(uint64_t end) const ABSL_SHARED_LOCKS_REQUIRED(lock()) {
    if (closed_.load(std::memory_order_relaxed)) return {Cause::kDeleted};
    if (end > size_bytes()) return {Cause::kShrunk};
    return Refusal();
  }
  // Returns true when the leaf is empty afterwards.
  bool EditLocked(Leaf* leaf, uint64_t chunk, Replaced* replaced,
                  absl::FunctionRef<void(ChunkMap&)> edit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(leaf->mu);
  // Links or frees the hot node that an edit made, changed or emptied. Before
  // it, `was_hot` and `was_dirty` were in there.
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
