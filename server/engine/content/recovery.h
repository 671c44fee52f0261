// Finds again what an earlier process left in the arena's memory file.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_RECOVERY_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_RECOVERY_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/hot_cache.h"
#include "server/engine/content/index.h"
#include "server/engine/content/layer.h"
#include "server/engine/content/node.h"
#include "server/engine/content/record_list.h"
#include "server/engine/memory/arena.h"

namespace ramvol::engine {

// The earlier process may have been killed at any instruction. All that counts
// is what the records reach. Of that, this believes only what a store published
// whole: pointers, numbers of chunks and blocks, frames and patterns. It makes
// everything else anew: references, locks, masks, queues, statistics, charges.
// It checks each pointer before it follows it.
//
// First claim all records. Then end the arena's recovery, and adopt the indexes
// of those that are whole. Not thread-safe; nobody else uses the arena
// meanwhile. It can be repeated if this process is killed, too.
class Recovery {
 public:
  Recovery(Arena& arena, HotCache& hot) : arena_(arena), hot_(hot) {}

  struct Found {
    Record* record = nullptr;
    // Something below it is not as it should be. The memory that it reaches
    // stays as it is.
    bool damaged = false;
    // Its description can be read.
    bool described = false;
  };
  // Claims all that the list at `head` reaches. Ends the list before a record
  // that is none; `*lost` says whether it did.
  std::vector<Found> ClaimAll(RecordList::Head* head, bool* lost);

  // Charges the nodes below `tree` and all that they hold, and links their hot
  // blocks. Who shares nothing of it pays from `own`; what is shared is charged
  // to `shared`, once. Returns whether anything is.
  bool Adopt(const Tree& tree, const std::shared_ptr<Layer>& own,
             const std::shared_ptr<Layer>& shared);

 private:
  bool ClaimContent(Record* record);
  bool ClaimDescription(const Record& record);
  bool ClaimNode(Node* node, int level, uint64_t base);
  bool ClaimLeaf(Leaf* leaf);
  bool ClaimCell(Cell* cell, uint64_t chunk);
  bool ClaimEntry(ChunkEntry* entry, uint64_t chunk);
  bool ClaimMap(const ChunkMap& map);
  bool ClaimFrame(Frame* frame, BlockMask live);
  bool ClaimPage(PageId page);

  bool AdoptNode(Node* node, bool own_above);
  bool AdoptLeaf(Leaf* leaf, bool own);
  void AdoptHot(ChunkEntry entry, HomePointer home, Layer& layer);

  Arena& arena_;
  HotCache& hot_;
  // All objects that were claimed but frames, and nodes and cells that are
  // damaged.
  absl::flat_hash_set<const void*> claimed_;
  absl::flat_hash_set<const void*> damaged_;
  absl::flat_hash_set<const void*> adopted_;
  // Of the Adopt that is under way.
  std::shared_ptr<Layer> own_;
  std::shared_ptr<Layer> shared_;
};

// Drops what the nodes below `tree` refer to outside of the arena. Nobody may
// use them any more.
void ForgetLayers(const Tree& tree);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_RECOVERY_H_
