// Background work on chunks: compress dirty blocks, drop clean ones, merge cold
// frames, split large ones, move frames out of sparse slabs.
#ifndef RAMVOL_SERVER_ENGINE_BACKGROUND_COMPACTOR_H_
#define RAMVOL_SERVER_ENGINE_BACKGROUND_COMPACTOR_H_

#include <array>

#include "absl/container/inlined_vector.h"
#include "server/engine/background/chunk_worker.h"
#include "server/engine/background/rewrite_plan.h"
#include "server/engine/background/work_queue.h"
#include "server/engine/content/chunk_edit.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/frame.h"
#include "server/engine/content/home.h"
#include "server/engine/content/hot_cache.h"
#include "server/engine/content/layer.h"
#include "server/engine/counters/totals.h"
#include "server/engine/memory/arena.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

// A chunk stays as it is when it changes meanwhile, when one of its frames is
// damaged, or when memory is short. Changes go in through KeepAt, and reach all
// volumes that share the chunk. What it makes is charged to the chunk's layer,
// and packed as that says.
//
// Thread-safe and stateless. Borrows its arguments, which must outlive it.
class Compactor final : public ChunkWorker {
 public:
  Compactor(Arena& arena, HotCache& hot, WorkQueue& work, Totals& totals)
      : arena_(arena), hot_(hot), work_(work), totals_(totals) {}

  // When there is no room for the compressed form beside the pages, uses the
  // reserve and then frees the pages. What does not fit even so stays dirty.
  void Flush(const Home& home) override;
  void DropClean(const Home& home) override;
  // Replaces the chunk's frames if that takes less memory. Splitting has
  // another condition: all blocks must still compress.
  void Rewrite(const Home& home, RewriteReason reason) override;
  void MoveFrames(const Home& home) override;

 private:
  // A group of blocks in its new form: one frame, or a raw page for each block.
  struct NewGroup {
    BlockMask blocks = 0;
    Frame* frame = nullptr;
  };
  // New frames and pages that are not committed yet.
  struct NewForm {
    absl::InlinedVector<NewGroup, 4> groups;
    std::array<PageId, kBlocksPerChunk> pages = {};
  };
  enum class Built { kYes, kNoGain, kNoMemory, kDamaged };

  // Compresses `groups` and adds the results to `made`. `content` holds the
  // chunk, each block at its own place. False when memory ran out before the
  // last group.
  bool PackGroups(Layer& layer, const Groups& groups, const char* content,
                  int level, Priority priority, NewForm* made);
  void PackDirty(Layer& layer, ChunkRefs* refs, Groups* groups,
                 bool* keep_clean, NewForm* made);
  void CommitFlush(const Home& home, Layer& layer, const ChunkRefs& refs,
                   bool keep_clean, NewForm* made);
  static void StoreRaw(ChunkMap& map, BlockMask blocks);
  // Copies those of `blocks` that are in frames to new pages. False when memory
  // is short.
  bool MakePages(Layer& layer, BlockMask blocks, const ChunkRefs& refs,
                 const char* content, Priority priority, NewForm* made);
  // Makes the new form of the blocks in `refs`, and tells whether it is a gain.
  Built Build(Layer& layer, const RewritePlan& plan, RewriteReason reason,
              ChunkRefs* refs, NewForm* made);
  // False when the chunk has changed.
  bool CommitRewrite(const Home& home, Layer& layer, const ChunkRefs& refs,
                     BlockMask chosen, bool cold, NewForm* made);
  // Frees what was made and not committed.
  static void Discard(Layer& layer, NewForm* made);
  // Frees `replaced`, and asks for a rewrite if a frame became mostly dead.
  void LinkAgain(const Home& home);
  void Finish(const Home& home, Replaced* replaced);
  void CountRewritten(Layer& layer, RewriteReason reason, int frames);
  static void MarkMerged(const Home& home);

  Arena& arena_;
  HotCache& hot_;
  WorkQueue& work_;
  Totals& totals_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_BACKGROUND_COMPACTOR_H_
