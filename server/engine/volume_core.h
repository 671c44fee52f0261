// The machinery of a Volume. The engine's own; users see volume.h.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_CORE_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_CORE_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "proto/base/counters.h"
#include "proto/base/mutex.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/hot_cache.h"
#include "server/engine/content/index.h"
#include "server/engine/content/packer.h"
#include "server/engine/holders.h"
#include "server/engine/memory/account.h"
#include "server/engine/memory/arena.h"
#include "server/engine/memory/slab_evacuator.h"
#include "server/engine/options.h"
#include "server/engine/counters/read_clock.h"
#include "server/engine/stats.h"
#include "server/engine/counters/totals.h"
#include "server/engine/volume_types.h"
#include "server/engine/work_queue.h"

namespace ramvol::engine {

// What all volumes of an engine share.
struct Shared {
  Arena& arena;
  HotCache& hot;
  WorkQueue& work;
  Totals& totals;
  SlabEvacuator& evacuator;
};

struct PieceWrite;

enum class IoCounter {
  // In the order of Operation.
  kReads,
  kWrites,
  kTrims,
  kZeroes,
  kFlushes,
  kExtents,
  // Likewise.
  kReadBytes,
  kWrittenBytes,
  kTrimmedBytes,
  kZeroedBytes,
  kFailures,
  kReadNs,
  kWriteNs,
  kHits,
  kMisses,
  kMergedFrames,
  kSplitFrames,
  kCompressNs,
  kDecompressNs,
  kCompressions,
  kDecompressions,
  kCorruptFrames,
  kCount,
};

// See volume.h for what the data calls promise. The calls below them are for
// background work.
//
// Every change of a chunk is prepared without a lock (compressing, copying,
// allocating) and committed by EditLocked, which cannot fail. Lock order:
// ARCHITECTURE.md, "Locks".
//
// Thread-safe. Borrows what `shared` refers to, which must outlive it.
class VolumeCore : public ChunkOwner {
 public:
  // Memory outside of the arena that a volume takes, about; counted.
  static constexpr uint64_t kFixedBytes = 8192;

  // `options` validate. Call Reserve next.
  VolumeCore(const Shared& shared, const VolumeOptions& options, uint64_t uid);
  ~VolumeCore() override;

  // Takes kFixedBytes and what a kMalloc volume promises out of the limit;
  // RESOURCE_EXHAUSTED when there is not enough, and then the volume must go.
  absl::Status Reserve();

  absl::Status Read(uint64_t offset, absl::Span<char> out);
  absl::Status Write(uint64_t offset, absl::Span<const char> data);
  absl::Status Trim(uint64_t offset, uint64_t length);
  absl::Status WriteZeroes(uint64_t offset, uint64_t length, bool no_hole);
  absl::Status Flush();
  absl::StatusOr<Extents> GetExtents(uint64_t offset, uint64_t length,
                                     size_t max_extents);
  absl::Status Update(const VolumeUpdate& update);

  // Ends all data calls with NOT_FOUND and frees the content. `force` as
  // Engine::DeleteVolume says.
  absl::Status Delete(bool force);
  absl::StatusOr<Holders::Id> Attach(Holder holder, bool if_unattached);
  void Detach(Holders::Id id) { holders_.Remove(id); }
  absl::Status CheckUnattached() const;

  const std::string& name() const { return name_; }
  uint64_t uid() const { return uid_; }
  uint64_t size_bytes() const {
    return size_bytes_.load(std::memory_order_acquire);
  }
  bool read_only() const { return read_only_.load(std::memory_order_acquire); }
  VolumeOptions options() const;
  VolumeStats Stats() const;

  void FlushChunk(uint64_t chunk) override;
  void DropClean(uint64_t chunk) override;
  void RewriteChunk(uint64_t chunk, RewriteReason reason) override;
  std::optional<TenantPart> FindPart(uint64_t chunk) override;
  // Also makes frames anew of which most is dead.
  void MovePart(uint64_t first_chunk) override;
  // Looks at the first leaf that covers `chunk` or a later one: merges what is
  // cold in it and marks the rest as cold from now on; with `all_cold`,
  // everything is. Returns the chunk to go on with, or nullopt at the end.
  std::optional<uint64_t> VisitLeaf(uint64_t chunk, bool all_cold);
  // Changes with every data call; tells whether the volume is in use.
  uint64_t ActivityForPacing() const;
  bool CorruptForTest(uint64_t offset);

 private:
  // What a commit let go of, freed once no lock is held.
  struct Dropped {
    absl::InlinedVector<Frame*, 4> frames;
    absl::InlinedVector<PageId, kBlocksPerChunk> pages;
    bool mostly_dead = false;
  };

  // Checks. `what` begins the message: "read", "write", ...
  absl::Status CheckRange(absl::string_view what, uint64_t offset,
                          uint64_t length) const;
  absl::Status CheckWritable(absl::string_view what) const;
  // That the volume exists, and is as large as `end`, under the index's lock.
  absl::Status CheckLocked(uint64_t end) const
      ABSL_SHARED_LOCKS_REQUIRED(index_.lock());
  absl::Status Deleted() const;
  // To be made before anything is given back, since it looks which limit it was
  // that refused; or that is known.
  absl::Status OutOfMemory(absl::string_view what, uint64_t offset,
                           uint64_t length) const;
  absl::Status OutOfMemory(absl::string_view what, uint64_t offset,
                           uint64_t length, bool own_limit) const;
  absl::Status Corrupt(uint64_t chunk) const;
  // Counts an operation that ends, and returns its `status`.
  absl::Status Count(Operation operation, int64_t took_ns, uint64_t length,
                     absl::Status status);

  // The only way in which a chunk changes: unpacks the entry, lets `change`
  // edit the map, links hot nodes, brings the statistics up to date, packs.
  void EditLocked(Leaf* leaf, uint64_t chunk, Dropped* dropped,
                  absl::FunctionRef<void(ChunkMap&)> change)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(leaf->mu);
  // Finds the leaf, if there is one, and edits the chunk unless the volume is
  // deleted or smaller than `end`; false then or when there is no leaf.
  bool EditIfThere(uint64_t chunk, uint64_t end, Dropped* dropped,
                   absl::FunctionRef<void(ChunkMap&)> change);
  void CollectDropped(const ChunkMap& before, const ChunkMap& after,
                      BlockMask affected, Dropped* dropped) const;
  void AddCensus(const Census& before, const Census& after);
  void AddHotBlocks(int64_t hot, int64_t dirty);
  void Free(uint64_t chunk, Dropped* dropped);
  // Frees all content of a chunk whose entry is cleared.
  void ClearEntryLocked(Leaf* leaf, uint64_t chunk, Dropped* dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(leaf->mu);

  // The hot overlay, edited within EditLocked's `change`.
  void SetHot(ChunkMap& map, uint64_t chunk, int block, PageId page,
              bool dirty);
  static void DropHot(ChunkMap& map, BlockMask blocks, Dropped* dropped);

  // Reading: volume_read.cc.
  absl::Status ReadPiece(uint64_t chunk, size_t begin, size_t end, char* out,
                         bool sequential, ReadClock* clock);
  absl::Status TakeRefs(uint64_t chunk, BlockMask blocks, uint64_t end,
                        bool small, ChunkRefs* refs);
  void CacheBlocks(uint64_t chunk, const Frame& frame, const char* content,
                   BlockMask blocks);
  // Brings the hot cache back to its capacity.
  void EvictSome();
  absl::StatusOr<Extents> FindExtents(uint64_t offset, uint64_t length,
                                      size_t max_extents);
  void AddReadCost(const ReadCost& cost);
  void AddPackCost(const PackCost& cost);

  // Writing: volume_write.cc.
  absl::Status WritePieces(uint64_t offset, absl::Span<const char> data);
  // One of `pieces` that are prepared before any is committed.
  absl::Status Prepare(size_t pieces, PieceWrite* piece);
  absl::Status PrepareAll(absl::Span<const std::unique_ptr<PieceWrite>> pieces);
  absl::Status PreparePartial(PieceWrite* piece);
  // RESOURCE_EXHAUSTED when there is no room for the metadata of `chunks`.
  absl::Status Admit(absl::string_view what, size_t chunks);
  absl::Status PrepareWhole(PieceWrite* piece);
  absl::Status PackWhole(BlockMask blocks, PieceWrite* piece);
  absl::Status PageWhole(BlockMask blocks, PieceWrite* piece);
  absl::Status FillPartial(int block, PieceWrite* piece);
  absl::Status Commit(PieceWrite* piece);
  // False, with its base taken anew, when that has changed.
  bool CommitLocked(Leaf* leaf, PieceWrite* piece, Dropped* dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(leaf->mu);
  void Apply(PieceWrite* piece, ChunkMap& map, Dropped* dropped);
  void Discard(PieceWrite* piece);
  PageId NewPageFor(const PieceWrite& piece);
  // After an allocation of up to `bytes` failed: drops clean or compresses
  // dirty blocks, a chunk's; false when there is nothing to.
  bool ReclaimFromCache(uint64_t bytes);
  // After an allocation of up to `bytes` failed: gives memory back, from the
  // hot cache first and then out of slabs, until `enough` says so; false when
  // nothing more is to be had.
  bool Reclaim(uint64_t bytes, absl::FunctionRef<bool()> enough);
  // Reclaims until there is room; false when that is not to be had.
  bool MakeRoom(uint64_t bytes);
  // Reclaims what must go so that `bytes` can be reserved, if that is enough.
  void MakeRoomToReserve(uint64_t bytes);
  // Slows a writer down while there is too much dirty.
  void Throttle();

  // Trimming: volume_trim.cc.
  absl::Status ZeroPiece(uint64_t chunk, size_t begin, size_t end, Slot fill,
                         bool check_end);
  absl::Status ZeroRange(uint64_t offset, uint64_t length, Slot fill,
                         bool check_end);
  void ClearChunks(uint64_t first, uint64_t last);
  // Frees what lies past the new end.
  void CutOff(uint64_t end, uint64_t old_end);
  absl::Status Resize(uint64_t size_bytes, bool if_unattached);
  // Sets the size, unless the volume is attached and must not be.
  absl::Status SetSize(uint64_t size_bytes, bool if_unattached);
  uint64_t ReservationFor(uint64_t size_bytes) const;

  // Background: volume_background.cc.
  struct NewGroup;
  bool PlanFlush(uint64_t chunk, ChunkRefs* refs, Groups* groups);
  bool PlanRewrite(uint64_t chunk, RewriteReason reason, ChunkRefs* refs,
                   Groups* groups, uint64_t* old_stored, int* old_frames);
  bool PackGroups(const Groups& groups, const char* content, int level,
                  Priority priority, absl::InlinedVector<NewGroup, 4>* made);
  static void StoreRaw(ChunkMap& map, BlockMask blocks);
  bool MakePages(BlockMask blocks, const ChunkRefs& refs, const char* content,
                 Priority priority, std::array<PageId, kBlocksPerChunk>* pages);
  static Priority PriorityOf(RewriteReason reason);
  void CountRewritten(RewriteReason reason, int frames);
  void MarkMerged(uint64_t chunk);
  // Has the merging worker look again.
  void MarkUnsettled(uint64_t chunk);
  // Moves frames out of sparse slabs, so that these can be given back.
  void MoveFrames(uint64_t chunk);
  bool HasFrameToMove(const ChunkMap& map) const;
  bool HasMostlyDeadFrame(const ChunkMap& map) const;
  enum class Age { kYoung, kCold, kSettled };
  // Whether the chunk was touched since the last call, else whether merging may
  // gain something.
  Age AgeOf(const ChunkMap& map, bool all_cold) const;

  // Frames of so many blocks are read and written at random at little more cost
  // than single blocks (ARCHITECTURE.md, "Frames").
  static constexpr int kSmallFrameBlocks = 4;
  // Writes of so many bytes are part of a stream, likely to be read as one.
  static constexpr uint64_t kLongWriteBytes = 128 << 10;
  int min_span() const { return options_.min_frame_bytes / kBlockBytes; }
  int max_span() const { return options_.max_frame_bytes / kBlockBytes; }
  // Longest frames that a write of `bytes` makes.
  int write_span(uint64_t bytes) const {
    return bytes < kLongWriteBytes
               ? split_span()
               : std::clamp(2 * kSmallFrameBlocks, min_span(), max_span());
  }
  // Longest frames that are not split when they are read apart.
  int split_span() const {
    return std::clamp(kSmallFrameBlocks, min_span(), max_span());
  }

  const Shared shared_;
  const std::string name_;
  const uint64_t uid_;
  // As created; what can change is in the atomics below.
  const VolumeOptions options_;

  std::atomic<uint64_t> size_bytes_;
  std::atomic<int> write_level_;
  std::atomic<int> merge_level_;
  std::atomic<bool> read_only_;
  // Written under the index's exclusive lock.
  std::atomic<bool> deleted_{false};
  // Where the last small read ended, to recognise sequential ones.
  std::atomic<uint64_t> last_read_end_{0};

  // A client is entered under the index's lock.
  Holders holders_;

  Account account_;
  Index index_;
  HotNodes hot_nodes_;
  Gauges gauges_;
  mutable Counters<IoCounter> counters_;
  std::array<std::array<std::atomic<uint64_t>, kErrorReasons.size()>,
             kOperations>
      errors_ = {};

  // One Update or Delete at a time.
  Mutex update_mu_;
  // Of kFixedBytes, what is taken out of the limit. Set by Reserve, before
  // others see the volume, and by Delete.
  uint64_t fixed_bytes_ = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_CORE_H_
