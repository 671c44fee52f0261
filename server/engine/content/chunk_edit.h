// Changes one chunk's map in its home, and what leaves and cells do with maps.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_EDIT_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_EDIT_H_

#include <cstdint>
#include <memory>

#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/frame.h"
#include "server/engine/content/home.h"
#include "server/engine/content/hot_cache.h"
#include "server/engine/content/layer.h"
#include "server/engine/content/node.h"
#include "server/engine/memory/arena.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

// Frames and pages that edits replaced. Pass it to Free when no lock is held,
// while the editor's layer is there.
struct Replaced {
  // What they are charged to; kept by `keep` unless it is the editor's.
  Layer* layer = nullptr;
  std::shared_ptr<Layer> keep;
  absl::InlinedVector<Frame*, 4> frames;
  absl::InlinedVector<PageId, kBlocksPerChunk> pages;
  // A frame became mostly dead: rewriting it saves memory.
  bool mostly_dead = false;
};
// Releases the frames and pages. Their memory is freed with the last reference.
void Free(Replaced* replaced);

// Where a map is that is being edited, with its locks held.
struct Place {
  ChunkEntry* entry;
  HomePointer home;
  const std::shared_ptr<Layer>& layer;
  uint64_t chunk;
  HotCache& hot;
  SmallCensus* census;  // Of a leaf; nullptr in a cell, which keeps none.
};

// For use within an edit. SetHot puts a block into the hot overlay; the
// caller's reference to `page` moves to the map. DropHot takes `blocks` out.
void SetHot(ChunkMap& map, int block, PageId page, bool dirty);
void DropHot(ChunkMap& map, BlockMask blocks, Replaced* replaced);

using EditMap = absl::FunctionRef<void(ChunkMap&)>;
// Calls edit(map), and stores `map` in the place. Links its hot node, and adds
// what was replaced to `*replaced`. What is put into the map must be charged to
// `editor`; the charge moves to the place's layer.
void EditIn(const Place& place, Layer& editor, Replaced* replaced,
            EditMap edit);

// The same for a chunk of which only the home is known, and for an edit after
// which all blocks read as before. False, without a call, when the home has
// lost the chunk. With `shares`, `edit` may put in what ShareAt returned.
bool KeepAt(const Home& home, HotCache& hot, Layer& editor, Replaced* replaced,
            EditMap edit, bool shares = false);
// Calls look(map), which must not copy bytes, likewise.
bool LookAt(const Home& home, absl::FunctionRef<void(const ChunkMap&)> look);
// The cold slots of a chunk, all holes when the home has lost it. They become
// common; the caller has a reference to each distinct frame and page.
ChunkMap ShareAt(const Home& home);
// Has merging look at the chunk again.
void Unsettle(const Home& home);
// The layer that pays for the chunk; nullptr when the home has lost it.
std::shared_ptr<Layer> LayerAt(const Home& home);

// All of these with the leaf's lock held exclusively.

// The entry, as a place.
Place PlaceIn(Leaf* leaf, int i, HotCache& hot)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(leaf->mu);
// Makes a hole of the entry's chunk in this leaf.
void ClearEntry(Leaf* leaf, int i, HotCache& hot, Replaced* replaced)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(leaf->mu);
// Takes the chunk out of its cell, if it is in one, so that its content can be
// changed: out of the cell itself, or by a copy of its map.
void LeaveCell(Leaf* leaf, int i, HotCache& hot)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(leaf->mu);
// A copy of the leaf, charged to `layer`. Both refer to the same cells then.
Leaf* CopyLeaf(Leaf* leaf, const std::shared_ptr<Layer>& layer, HotCache& hot)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(leaf->mu);
// Moves all charges of the leaf to `layer`.
void MoveCharges(Leaf* leaf, const std::shared_ptr<Layer>& layer, HotCache& hot)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(leaf->mu);

// What an entry that is not a cell's is charged.
uint64_t ChargedBytes(const Arena& arena, ChunkEntry entry);
// Whether it has frames or pages that others may refer to, too.
bool HoldsCommon(const Arena& arena, ChunkEntry entry);

// Drops all that the leaf refers to, and leaves no entry. Takes its lock.
void EmptyLeaf(Leaf* leaf, HotCache& hot);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_CHUNK_EDIT_H_
