#include "server/engine/volume_core.h"

#include <bit>
#include <new>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "proto/base/clock.h"
#include "proto/base/reason.h"

namespace ramvol::engine {
namespace {

// A kMalloc volume's index, for each chunk: its map with 16 slots, and a 64th
// of its leaf with the nodes above.
constexpr uint64_t kIndexBytesPerChunk = 192;
// And what writes hold on top while old and new content exist together.
constexpr uint64_t kReservationSlackBytes = 1 << 20;
// Most memory that a write asks for at once: for the index, when it is
// admitted.
constexpr uint64_t kMostAskedBytes = 256 << 10;
// Of those who have a volume attached, so many are named.
constexpr size_t kMaxNamedHolders = 8;

// The counter that comes `index` places after `first`.
IoCounter After(IoCounter first, size_t index) {
  return static_cast<IoCounter>(static_cast<size_t>(first) + index);
}

// The place of the status' reason in kErrorReasons; the last one's for others.
size_t ReasonIndex(const absl::Status& status) {
  size_t index = 0;
  while (index + 1 < kErrorReasons.size() &&
         !HasReason(status, kErrorReasons[index])) {
    ++index;
  }
  return index;
}

// "nbd 127.0.0.1:40112 since 2026-11-29T03:12:50Z".
void AppendHolder(std::string* out, const Holder& holder) {
  absl::StrAppend(out, holder.over, " ", holder.from, " since ",
                  absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", holder.since,
                                   absl::UTCTimeZone()));
}

}  // namespace

VolumeCore::VolumeCore(const Shared& shared, const VolumeOptions& options,
                       uint64_t uid)
    : shared_(shared),
      name_(options.name),
      uid_(uid),
      options_(options),
      size_bytes_(options.size_bytes),
      write_level_(options.write_level),
      merge_level_(options.merge_level),
      read_only_(options.read_only),
      account_(shared.arena, options.memory_limit_bytes),
      index_(account_, (options.size_bytes - 1) / kChunkBytes + 1) {}

VolumeCore::~VolumeCore() {
  ClearChunks(0, kMaxVolumeBytes / kChunkBytes);
  shared_.arena.Unreserve(fixed_bytes_);
}

uint64_t VolumeCore::ReservationFor(uint64_t size_bytes) const {
  if (options_.allocator != Allocator::kMalloc) return 0;
  const uint64_t chunks = (size_bytes - 1) / kChunkBytes + 1;
  return chunks * (kChunkBytes + kIndexBytesPerChunk) + kReservationSlackBytes;
}

absl::Status VolumeCore::Reserve() {
  const uint64_t bytes = ReservationFor(size_bytes());
  MakeRoomToReserve(bytes + kFixedBytes);
  if (shared_.arena.Reserve(kFixedBytes, Priority::kNormal)) {
    fixed_bytes_ = kFixedBytes;
    if (bytes == 0 || account_.GrowReservation(bytes)) return absl::OkStatus();
  }
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat(
          "volume \"", name_, "\" of ", size_bytes(), " bytes needs ",
          bytes + kFixedBytes, " bytes of memory at once, but ",
          shared_.arena.used_bytes(), " bytes of the server's limit of ",
          shared_.arena.limit_bytes(), " are in use; delete others",
          bytes == 0 ? "" : ", make it smaller, or use ZSTD or SPARSE")),
      reason::kServerMemoryLimit);
}

absl::Status VolumeCore::Deleted() const {
  return WithReason(absl::NotFoundError(absl::StrCat(
                        "volume \"", name_,
                        "\" was deleted; open another, or create it again")),
                    reason::kVolumeDeleted);
}

absl::Status VolumeCore::CheckRange(absl::string_view what, uint64_t offset,
                                    uint64_t length) const {
  if (deleted_.load(std::memory_order_acquire)) return Deleted();
  const uint64_t size = size_bytes();
  if (length <= size && offset <= size - length) return absl::OkStatus();
  return WithReason(absl::OutOfRangeError(absl::StrCat(
                        what, " of ", length, " bytes at offset ", offset,
                        " ends past volume \"", name_, "\" of ", size,
                        " bytes; shorten it, or resize the volume")),
                    reason::kPastEnd);
}

absl::Status VolumeCore::CheckWritable(absl::string_view what) const {
  if (!read_only()) return absl::OkStatus();
  return WithReason(
      absl::FailedPreconditionError(
          absl::StrCat(what, " refused: volume \"", name_,
                       "\" is read-only; set read_only to false to change it")),
      reason::kVolumeReadOnly);
}

absl::Status VolumeCore::CheckLocked(uint64_t end) const {
  if (deleted_.load(std::memory_order_relaxed)) return Deleted();
  if (end <= size_bytes()) return absl::OkStatus();
  return WithReason(absl::OutOfRangeError(absl::StrCat(
                        "volume \"", name_, "\" was shrunk to ", size_bytes(),
                        " bytes while an operation went up to byte ", end,
                        "; repeat it within the new size")),
                    reason::kPastEnd);
}

absl::Status VolumeCore::OutOfMemory(absl::string_view what, uint64_t offset,
                                     uint64_t length) const {
  return OutOfMemory(what, offset, length,
                     account_.OwnLimitRefuses(kMostAskedBytes));
}

absl::Status VolumeCore::OutOfMemory(absl::string_view what, uint64_t offset,
                                     uint64_t length, bool own_limit) const {
  const std::string operation =
      absl::StrCat(what, " of ", length, " bytes at offset ", offset,
                   " of volume \"", name_, "\"");
  if (own_limit) {
    return WithReason(
        absl::ResourceExhaustedError(absl::StrCat(
            operation, " does not fit: ", account_.used_bytes(),
            " bytes of its memory limit of ", account_.limit_bytes(),
            " are in use; trim it or raise memory_limit_bytes")),
        reason::kVolumeMemoryLimit);
  }
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat(
          operation, " does not fit: ", shared_.arena.used_bytes(),
          " bytes of the server's memory limit of ",
          shared_.arena.limit_bytes(),
          " are in use; trim or delete volumes, or raise --memory_limit")),
      reason::kServerMemoryLimit);
}

absl::Status VolumeCore::Corrupt(uint64_t chunk) const {
  return WithReason(
      absl::DataLossError(absl::StrCat(
          "a frame of volume \"", name_, "\" at offset ", chunk * kChunkBytes,
          " does not pass its check, its content is lost; write or trim these ",
          kChunkBytes, " bytes, and test the machine's memory")),
      reason::kCorruptFrame);
}

absl::Status VolumeCore::Count(Operation operation, int64_t took_ns,
                               uint64_t length, absl::Status status) {
  const auto index = static_cast<size_t>(operation);
  shared_.totals.operations[index].Record(took_ns);
  if (operation == Operation::kRead) {
    counters_.Add(IoCounter::kReadNs, took_ns);
  } else if (operation == Operation::kWrite) {
    counters_.Add(IoCounter::kWriteNs, took_ns);
  }
  if (!status.ok()) {
    counters_.Add(IoCounter::kFailures, 1);
    errors_[index][ReasonIndex(status)].fetch_add(1, std::memory_order_relaxed);
    return status;
  }
  counters_.Add(After(IoCounter::kReads, index), 1);
  if (length > 0) {
    counters_.Add(After(IoCounter::kReadBytes, index),
                  static_cast<int64_t>(length));
  }
  return status;
}

void VolumeCore::CollectDropped(const ChunkMap& before, const ChunkMap& after,
                                BlockMask affected, Dropped* dropped) const {
  for (BlockMask left = affected; left != 0;) {
    const int block = std::countr_zero(left);
    left &= left - 1;
    const Slot& slot = before.cold[block];
    if (slot.kind == SlotKind::kPage && slot != after.cold[block]) {
      dropped->pages.push_back(slot.page());
    }
    Frame* frame = slot.frame();
    if (frame == nullptr) continue;
    left &= ~before.BlocksOf(frame);
    const BlockMask live = after.BlocksOf(frame);
    if (live == 0) {
      dropped->frames.push_back(frame);
    } else if (2 * std::popcount(live) <= std::popcount(frame->blocks)) {
      dropped->mostly_dead = true;
    }
  }
}

void VolumeCore::AddCensus(const Census& before, const Census& after) {
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i] == after[i]) continue;
    gauges_.Add(static_cast<Gauge>(i), after[i] - before[i]);
  }
}

void VolumeCore::AddHotBlocks(int64_t hot, int64_t dirty) {
  if (hot != 0) gauges_.Add(Gauge::kHotBlocks, hot);
  if (dirty != 0) gauges_.Add(Gauge::kDirtyBlocks, dirty);
  shared_.hot.AddBlocks(hot, dirty);
}

void VolumeCore::EditLocked(Leaf* leaf, uint64_t chunk, Dropped* dropped,
                            absl::FunctionRef<void(ChunkMap&)> change) {
  ChunkEntry& entry = leaf->entries[chunk % kFanout];
  const ChunkMap before = ChunkMap::Unpack(entry);
  const BlockMask was_hot = before.hot == nullptr ? 0 : before.hot->present;
  const BlockMask was_dirty = before.hot == nullptr ? 0 : before.hot->dirty;
  ChunkMap map = before;
  change(map);
  const BlockMask is_hot = map.hot == nullptr ? 0 : map.hot->present;
  const BlockMask is_dirty = map.hot == nullptr ? 0 : map.hot->dirty;
  AddHotBlocks(std::popcount(is_hot) - std::popcount(was_hot),
               std::popcount(is_dirty) - std::popcount(was_dirty));
  if (map.hot != nullptr && is_hot == 0) {
    shared_.hot.Unlink(map.hot);
    hot_nodes_.Remove(map.hot);
    map.hot->~HotNode();
    account_.Delete(map.hot, sizeof(HotNode));
    map.hot = nullptr;
  } else if (map.hot != nullptr && before.hot == nullptr) {
    shared_.hot.Link(map.hot);
  } else if (map.hot != nullptr && was_dirty == 0 && is_dirty != 0) {
    shared_.hot.MarkDirty(map.hot);
  }
  leaf->unsettled = true;
  const BlockMask affected = AffectedBlocks(before, map);
  if (affected == 0 && map.hot == before.hot) return;  // The entry stays.
  AddCensus(before.TakeCensus(affected), map.TakeCensus(affected));
  CollectDropped(before, map, affected, dropped);
  Pack(map, account_, &entry);
  const uint64_t bit = uint64_t{1} << (chunk % kFanout);
  leaf->present = entry != 0 ? leaf->present | bit : leaf->present & ~bit;
}

bool VolumeCore::EditIfThere(uint64_t chunk, uint64_t end, Dropped* dropped,
                             absl::FunctionRef<void(ChunkMap&)> change) {
  StripedReaderLock index_lock(&index_.lock());
  if (!CheckLocked(end).ok()) return false;
  Leaf* leaf = index_.Find(chunk);
  if (leaf == nullptr) return false;
  MutexLock lock(&leaf->mu);
  EditLocked(leaf, chunk, dropped, change);
  return true;
}

void VolumeCore::ClearEntryLocked(Leaf* leaf, uint64_t chunk,
                                  Dropped* dropped) {
  EditLocked(leaf, chunk, dropped, [&](ChunkMap& map) {
    map.cold.fill({});
    if (map.hot != nullptr) DropHot(map, map.hot->present, dropped);
  });
}

void VolumeCore::Free(uint64_t chunk, Dropped* dropped) {
  for (Frame* frame : dropped->frames) ReleaseFrame(account_, frame);
  for (PageId page : dropped->pages) account_.FreePage(page);
  dropped->frames.clear();
  dropped->pages.clear();
  if (!dropped->mostly_dead) return;
  dropped->mostly_dead = false;
  shared_.work.Push({weak_from_this(), chunk, RewriteReason::kMostlyDead});
}

void VolumeCore::SetHot(ChunkMap& map, uint64_t chunk, int block, PageId page,
                        bool dirty) {
  if (map.hot == nullptr) {
    // Admitted before; see Admit and CacheBlocks.
    map.hot =
        new (account_.New(sizeof(HotNode), Priority::kGuaranteed)) HotNode;
    map.hot->owner = this;
    map.hot->chunk = chunk;
    hot_nodes_.Add(map.hot);
  }
  const BlockMask bit = BlockBit(block);
  map.hot->pages[block] = page;
  map.hot->present |= bit;
  if (dirty) map.hot->dirty |= bit;
}

void VolumeCore::DropHot(ChunkMap& map, BlockMask blocks, Dropped* dropped) {
  if (map.hot == nullptr) return;
  for (const int block : Bits(blocks & map.hot->present)) {
    dropped->pages.push_back(map.hot->pages[block]);
  }
  map.hot->present &= ~blocks;
  map.hot->dirty &= ~blocks;
}

absl::Status VolumeCore::Flush() {
  const int64_t began_ns = SteadyNowNs();
  absl::Status status;
  if (deleted_.load(std::memory_order_acquire)) status = Deleted();
  return Count(Operation::kFlush, SteadyNowNs() - began_ns, 0,
               std::move(status));
}

absl::StatusOr<Holders::Id> VolumeCore::Attach(Holder holder,
                                               bool if_unattached) {
  StripedReaderLock lock(&index_.lock());
  if (deleted_.load(std::memory_order_relaxed)) return Deleted();
  if (!if_unattached) return holders_.Add(std::move(holder));
  Holders::Id id = 0;
  while (!holders_.AddFirst(holder, &id)) {
    absl::Status attached = CheckUnattached();
    if (!attached.ok()) return attached;
  }
  return id;
}

absl::Status VolumeCore::CheckUnattached() const {
  const auto [holders, count] = holders_.List(kMaxNamedHolders);
  if (count == 0) return absl::OkStatus();
  std::string named = absl::StrJoin(holders, ", ", AppendHolder);
  if (count > holders.size()) {
    absl::StrAppend(&named, " and ", count - holders.size(), " more");
  }
  return WithReason(absl::FailedPreconditionError(absl::StrCat(
                        "volume \"", name_, "\" is attached by ", count,
                        count == 1 ? " client" : " clients", " (", named,
                        "); detach first, or force it")),
                    reason::kVolumeAttached);
}

absl::Status VolumeCore::Delete(bool force) {
  MutexLock update_lock(&update_mu_);
  {
    StripedWriterLock lock(&index_.lock());
    if (deleted_.load(std::memory_order_relaxed)) return Deleted();
    if (!force) {
      absl::Status unattached = CheckUnattached();
      if (!unattached.ok()) return unattached;
    }
    deleted_.store(true, std::memory_order_release);
  }
  ClearChunks(0, kMaxVolumeBytes / kChunkBytes);
  account_.ShrinkReservation(ReservationFor(size_bytes()));
  shared_.arena.Unreserve(std::exchange(fixed_bytes_, 0));
  return absl::OkStatus();
}

absl::Status VolumeCore::Update(const VolumeUpdate& update) {
  MutexLock update_lock(&update_mu_);
  if (deleted_.load(std::memory_order_acquire)) return Deleted();
  VolumeOptions wanted = options();
  if (update.size_bytes) wanted.size_bytes = *update.size_bytes;
  if (update.write_level) wanted.write_level = *update.write_level;
  if (update.merge_level) wanted.merge_level = *update.merge_level;
  if (update.memory_limit_bytes) {
    wanted.memory_limit_bytes = *update.memory_limit_bytes;
  }
  if (update.read_only) wanted.read_only = *update.read_only;
  absl::Status valid = wanted.Validate();
  if (!valid.ok()) return valid;
  if (update.if_unattached) {
    absl::Status unattached = CheckUnattached();
    if (!unattached.ok()) return unattached;
  }
  // Resizing is the only part that can fail, so it goes first.
  if (wanted.size_bytes != size_bytes()) {
    absl::Status resized = Resize(wanted.size_bytes, update.if_unattached);
    if (!resized.ok()) return resized;
  }
  write_level_.store(wanted.write_level, std::memory_order_relaxed);
  merge_level_.store(wanted.merge_level, std::memory_order_relaxed);
  account_.set_limit_bytes(wanted.memory_limit_bytes);
  read_only_.store(wanted.read_only, std::memory_order_release);
  return absl::OkStatus();
}

VolumeOptions VolumeCore::options() const {
  VolumeOptions options = options_;
  options.size_bytes = size_bytes();
  options.write_level = write_level_.load(std::memory_order_relaxed);
  options.merge_level = merge_level_.load(std::memory_order_relaxed);
  options.memory_limit_bytes = account_.limit_bytes();
  options.read_only = read_only();
  return options;
}

uint64_t VolumeCore::ActivityForPacing() const {
  return counters_.Sum(IoCounter::kReads) + counters_.Sum(IoCounter::kWrites);
}

VolumeStats VolumeCore::Stats() const {
  VolumeStats stats;
  stats.size_bytes = size_bytes();
  stats.compressed_blocks = gauges_.Sum(Gauge::kCompressedBlocks);
  stats.raw_blocks = gauges_.Sum(Gauge::kRawBlocks);
  stats.same_filled_blocks = gauges_.Sum(Gauge::kSameFilledBlocks);
  stats.dirty_blocks = gauges_.Sum(Gauge::kDirtyBlocks);
  stats.dead_bytes = gauges_.Sum(Gauge::kDeadBytes);
  stats.hot_bytes = gauges_.Sum(Gauge::kHotBlocks) * kBlockBytes;
  stats.dirty_bytes = stats.dirty_blocks * kBlockBytes;
  stats.stored_bytes = (stats.raw_blocks + stats.dirty_blocks) * kBlockBytes;
  for (int span = 0; span < kSpans; ++span) {
    stats.frames[span] = gauges_.Sum(
        static_cast<Gauge>(static_cast<int>(Gauge::kFrames0) + span));
    stats.frame_bytes[span] = gauges_.Sum(
        static_cast<Gauge>(static_cast<int>(Gauge::kFrameBytes0) + span));
    stats.stored_bytes += stats.frame_bytes[span];
  }
  stats.logical_bytes = (stats.compressed_blocks + stats.raw_blocks +
                         stats.same_filled_blocks + stats.dirty_blocks) *
                        kBlockBytes;
  stats.memory_bytes = account_.used_bytes() + kFixedBytes;
  stats.memory_limit_bytes = account_.limit_bytes();

  const auto sum = [this](IoCounter counter) { return counters_.Sum(counter); };
  stats.read_operations = sum(IoCounter::kReads);
  stats.write_operations = sum(IoCounter::kWrites);
  stats.trim_operations = sum(IoCounter::kTrims);
  stats.zero_operations = sum(IoCounter::kZeroes);
  stats.flush_operations = sum(IoCounter::kFlushes);
  stats.extents_operations = sum(IoCounter::kExtents);
  stats.failed_operations = sum(IoCounter::kFailures);
  stats.read_bytes = sum(IoCounter::kReadBytes);
  stats.written_bytes = sum(IoCounter::kWrittenBytes);
  stats.trimmed_bytes = sum(IoCounter::kTrimmedBytes);
  stats.zeroed_bytes = sum(IoCounter::kZeroedBytes);
  stats.cache_hits = sum(IoCounter::kHits);
  stats.cache_misses = sum(IoCounter::kMisses);
  stats.merged_frames = sum(IoCounter::kMergedFrames);
  stats.split_frames = sum(IoCounter::kSplitFrames);
  stats.compress_ns = sum(IoCounter::kCompressNs);
  stats.decompress_ns = sum(IoCounter::kDecompressNs);
  stats.compressions = sum(IoCounter::kCompressions);
  stats.decompressions = sum(IoCounter::kDecompressions);
  stats.corrupt_frames = sum(IoCounter::kCorruptFrames);
  stats.read_ns = sum(IoCounter::kReadNs);
  stats.write_ns = sum(IoCounter::kWriteNs);
  for (size_t operation = 0; operation < kOperations; ++operation) {
    for (size_t reason = 0; reason < kErrorReasons.size(); ++reason) {
      stats.errors[operation][reason] =
          errors_[operation][reason].load(std::memory_order_relaxed);
    }
  }
  stats.attached_clients = static_cast<int>(holders_.size());
  return stats;
}

void VolumeCore::AddReadCost(const ReadCost& cost) {
  if (cost.decompressions == 0) return;
  counters_.Add(IoCounter::kDecompressions, cost.decompressions);
  counters_.Add(IoCounter::kDecompressNs, cost.decompress_ns);
  if (cost.corrupt_frames == 0) return;
  counters_.Add(IoCounter::kCorruptFrames, cost.corrupt_frames);
  shared_.totals.counts.Add(Total::kCorruptFrames, cost.corrupt_frames);
}

void VolumeCore::AddPackCost(const PackCost& cost) {
  if (cost.compressions == 0) return;
  counters_.Add(IoCounter::kCompressions, cost.compressions);
  counters_.Add(IoCounter::kCompressNs, cost.compress_ns);
}

}  // namespace ramvol::engine
