// Background work on the chunks of one volume: compress dirty blocks, drop
// clean ones, merge cold frames, split large ones, move objects out of sparse
// slabs.
#ifndef RAMVOL_SERVER_ENGINE_BACKGROUND_COMPACTOR_H_
#define RAMVOL_SERVER_ENGINE_BACKGROUND_COMPACTOR_H_

#include <array>
#include <cstdint>
#include <optional>

#include "absl/container/inlined_vector.h"
#include "server/engine/background/engine_parts.h"
#include "server/engine/background/rewrite_plan.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/content.h"
#include "server/engine/content/frame.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

// Implements the calls of ChunkOwner. None changes what a reader sees, and none
// fails: a chunk stays as it is when it changes meanwhile, when one of its
// frames is damaged, or when memory is short. Changes go in through
// Content::Edit.
//
// Thread-safe and stateless.
class Compactor {
 public:
  explicit Compactor(const VolumeParts& parts) : parts_(parts) {}

  // Compresses the chunk's dirty blocks and links its node again. When there is
  // no room for the compressed form beside the pages, uses the reserve and then
  // frees the pages. What does not fit even so stays dirty.
  void FlushChunk(uint64_t chunk);
  // Drops the chunk's clean hot blocks and links its node again if any is left.
  void DropClean(uint64_t chunk);
  // Replaces the chunk's frames as `reason` asks, if that takes less memory.
  // Splitting has another condition: all blocks must still compress.
  void RewriteChunk(uint64_t chunk, RewriteReason reason);

  // See ChunkOwner.
  std::optional<TenantPart> FindPart(uint64_t chunk) const;
  // Also rewrites frames that are mostly dead.
  void MovePart(uint64_t first_chunk);
  std::optional<uint64_t> MergeLeaf(uint64_t chunk, bool all_cold);

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
  bool PackGroups(const Groups& groups, const char* content, int level,
                  Priority priority, NewForm* made);
  void PackDirty(ChunkRefs* refs, Groups* groups, bool* keep_clean,
                 NewForm* made);
  void CommitFlush(const ChunkRefs& refs, bool keep_clean, uint64_t chunk,
                   NewForm* made);
  static void StoreRaw(ChunkMap& map, BlockMask blocks);
  // Copies those of `blocks` that are in frames to new pages. False when memory
  // is short.
  bool MakePages(BlockMask blocks, const ChunkRefs& refs, const char* content,
                 Priority priority, NewForm* made);
  // Makes the new form of the blocks in `refs`, and tells whether it is a gain.
  Built Build(const RewritePlan& plan, RewriteReason reason, ChunkRefs* refs,
              NewForm* made);
  // False when the chunk has changed.
  bool CommitRewrite(const ChunkRefs& refs, BlockMask chosen, bool cold,
                     uint64_t chunk, NewForm* made);
  // Adds what was made and not committed to `replaced`, to be freed.
  static void Discard(NewForm* made, Replaced* replaced);
  // Frees `replaced`, and asks for a rewrite if a frame became mostly dead.
  void Finish(uint64_t chunk, Replaced* replaced);
  void CountRewritten(RewriteReason reason, int frames);
  void MarkMerged(uint64_t chunk);
  // Makes the merging thread look at the chunk again.
  void MarkUnsettled(uint64_t chunk);
  void MoveFrames(uint64_t chunk);
  bool HasFrameToMove(const ChunkMap& map) const;

  const VolumeParts parts_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_BACKGROUND_COMPACTOR_H_
