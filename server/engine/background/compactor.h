// What background work does to the chunks of one volume: compress what is
// dirty, drop what is clean, merge what is cold, split what is read apart, move
// what lies in sparse slabs.
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

// The calls are those of ChunkOwner. None changes what a reader sees, and none
// fails: a chunk that changes meanwhile, or whose frame is damaged, or for
// which memory is lacking, is left as it is. What is made anew goes in through
// Content::Edit.
//
// Thread-safe; holds no state of its own.
class Compactor {
 public:
  explicit Compactor(const VolumeParts& parts) : parts_(parts) {}

  // Compresses the chunk's dirty blocks and links its node again. Without room
  // for the compressed form beside the pages it uses the reserve and gives the
  // pages back; what does not fit even so stays dirty.
  void FlushChunk(uint64_t chunk);
  // Drops the chunk's clean hot blocks, and links what is left.
  void DropClean(uint64_t chunk);
  // Makes the chunk's frames anew as `reason` asks for, if that takes less
  // memory (when they are split: if all blocks still compress).
  void RewriteChunk(uint64_t chunk, RewriteReason reason);

  // As ChunkOwner says.
  std::optional<TenantPart> FindPart(uint64_t chunk) const;
  // Also makes frames anew of which most is dead.
  void MovePart(uint64_t first_chunk);
  std::optional<uint64_t> MergeLeaf(uint64_t chunk, bool all_cold);

 private:
  // A group of blocks in its new form: one frame, or a raw page for each.
  struct NewGroup {
    BlockMask blocks = 0;
    Frame* frame = nullptr;
  };
  // What was made and is not committed.
  struct NewForm {
    absl::InlinedVector<NewGroup, 4> groups;
    std::array<PageId, kBlocksPerChunk> pages = {};
  };
  enum class Built { kYes, kNoGain, kNoMemory, kDamaged };

  // Compresses `groups`, each block at its place in the chunk at `content`, and
  // adds them to `made`, those of them that there is memory for. False when
  // that is not all.
  bool PackGroups(const Groups& groups, const char* content, int level,
                  Priority priority, NewForm* made);
  void PackDirty(ChunkRefs* refs, Groups* groups, bool* keep_clean,
                 NewForm* made);
  void CommitFlush(const ChunkRefs& refs, bool keep_clean, uint64_t chunk,
                   NewForm* made);
  static void StoreRaw(ChunkMap& map, BlockMask blocks);
  // Puts those of `blocks` that are in frames into pages of their own; false
  // when memory is lacking.
  bool MakePages(BlockMask blocks, const ChunkRefs& refs, const char* content,
                 Priority priority, NewForm* made);
  // Makes the new form of what `refs` hold, and judges it.
  Built Build(const RewritePlan& plan, RewriteReason reason, ChunkRefs* refs,
              NewForm* made);
  // False when the chunk has changed.
  bool CommitRewrite(const ChunkRefs& refs, BlockMask chosen, bool cold,
                     uint64_t chunk, NewForm* made);
  // Leaves what was made to be freed with what else is.
  static void Discard(NewForm* made, Replaced* replaced);
  // Frees, and asks for a frame that is mostly dead to be made anew.
  void Finish(uint64_t chunk, Replaced* replaced);
  void CountRewritten(RewriteReason reason, int frames);
  void MarkMerged(uint64_t chunk);
  // Has the merging worker look again.
  void MarkUnsettled(uint64_t chunk);
  void MoveFrames(uint64_t chunk);
  bool HasFrameToMove(const ChunkMap& map) const;

  const VolumeParts parts_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_BACKGROUND_COMPACTOR_H_
