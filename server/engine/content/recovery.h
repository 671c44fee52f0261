// Finds again what an earlier process left in the arena's memory file.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_RECOVERY_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_RECOVERY_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/hot_cache.h"
#include "server/engine/content/index.h"
#include "server/engine/content/layer.h"
#include "server/engine/content/node.h"
#include "server/engine/content/record_list.h"
#include "server/engine/memory/arena.h"

namespace ramvol::engine {

// The nodes of damaged volumes that are damaged, or above such: for each, which
// of its children or entries were not followed (bit i).
using Damage = absl::flat_hash_map<const Node*, uint64_t>;

// The earlier process may have been killed at any instruction. All that counts
// is what the records reach. Of that, this believes only what a store published
// whole: pointers, numbers of chunks and blocks, frames and patterns. It makes
// everything else anew: references, locks, masks, queues, statistics, charges.
// It checks each pointer before it follows it.
//
// First claim all records. Then end the arena's recovery, and adopt their
// indexes, also those of damaged ones, so that what is whole of them can be
// freed. Not thread-safe; nobody else uses the arena
// meanwhile. It can be repeated if this process is killed, too.
class Recovery {
 public:
  // Frames that are outside count as damaged unless `may_be_outside`.
  Recovery(Arena& arena, HotCache& hot, bool may_be_outside)
      : arena_(arena), hot_(hot), may_be_outside_(may_be_outside) {}

  struct Found {
    Record* record = nullptr;
    // Something below it is not as it should be. What it reaches stays as it
    // is.
    bool damaged = false;
    // What can be followed.
    Tree tree;
    // Its description can be read.
    bool described = false;
  };
  // Claims all that the list at `head` reaches. Ends the list before a record
  // that is none; `*lost` says whether it did.
  std::vector<Found> ClaimAll(RecordList::Head* head, bool* lost);

  // Charges the nodes below `tree` and all that they hold and was followed, and
  // links their hot blocks. Who shares nothing of it pays from `own`; what is
  // shared is charged to `shared`, once. Returns whether anything is.
  bool Adopt(const Tree& tree, const std::shared_ptr<Layer>& own,
             const std::shared_ptr<Layer>& shared);

  // Frames that are outside.
  struct OutsideFrames {
    absl::flat_hash_set<uint32_t> images;  // What they are of.
    uint64_t room_bytes = 0;               // What was kept for them.
  };

  // Complete after ClaimAll.
  std::shared_ptr<const Damage> damage() const { return damage_; }
  const OutsideFrames& outside() const { return outside_; }

 private:
  // How much a pointer to a node reaches of what it should.
  enum class Reach { kNothing, kPart, kAll };
  bool ClaimContent(Record* record, Tree* tree);
  bool ClaimDescription(const Record& record);
  Reach ClaimNode(Node* node, int level, uint64_t base);
  // Whether all is whole.
  bool ClaimChildren(Inner* inner);
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
  const bool may_be_outside_;
  OutsideFrames outside_;
  // All objects that were claimed but frames, and cells that are damaged.
  absl::flat_hash_set<const void*> claimed_;
  absl::flat_hash_set<const Cell*> damaged_cells_;
  const std::shared_ptr<Damage> damage_ = std::make_shared<Damage>();
  absl::flat_hash_set<const void*> adopted_;
  // Of the Adopt that is under way.
  std::shared_ptr<Layer> own_;
  std::shared_ptr<Layer> shared_;
};

// Drops what the nodes below `tree` refer to outside of the arena. Nobody may
// use them any more.
void ForgetLayers(const Tree& tree, const Damage& damage);

// Cuts off what was not followed of `tree`, which was adopted, so that it can
// be released.
void CutDamage(const Tree& tree, const Damage& damage);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_RECOVERY_H_
