// What a volume wrote between two snapshots: who pays for it, and how it is
// packed.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_LAYER_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_LAYER_H_

#include <memory>
#include <utility>

#include "server/engine/content/hot_node.h"
#include "server/engine/content/packing_policy.h"
#include "server/engine/memory/account.h"
#include "server/engine/memory/arena.h"

namespace ramvol::engine {

struct PackCost;
struct ReadCost;

// Counts work on content that no request counts. Thread-safe.
class WorkCounts {
 public:
  virtual ~WorkCounts() = default;
  virtual void AddReadCost(const ReadCost& cost) = 0;
  virtual void AddPackCost(const PackCost& cost) = 0;
  virtual void CountMergedFrames(int frames) = 0;
  virtual void CountSplitFrames(int frames) = 0;
  // Index nodes that were shared when a change came.
  virtual void CountCopiedNodes(int nodes) = 0;
};

// A volume charges what it writes to its current layer. A snapshot ends that
// layer: from then on, the volume has a new one, and the old one pays for what
// the two share, without a limit. Index nodes and cells refer to their layer,
// which goes with the last of them. So a snapshot moves no charges.
//
// Thread-safe.
struct Layer {
  Layer(Arena& arena, uint64_t limit_bytes,
        std::shared_ptr<const PackingPolicy> its_packing,
        std::shared_ptr<WorkCounts> its_counts)
      : account(arena, limit_bytes),
        packing(std::move(its_packing)),
        counts(std::move(its_counts)) {}

  Account account;
  // The hot nodes that are charged to `account`.
  HotNodes hot_nodes;
  // Those of the volume that wrote the layer.
  const std::shared_ptr<const PackingPolicy> packing;
  const std::shared_ptr<WorkCounts> counts;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_LAYER_H_
