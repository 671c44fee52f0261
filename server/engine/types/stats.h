// Statistics of the engine and of volumes: plain numbers.
#ifndef RAMVOL_SERVER_ENGINE_TYPES_STATS_H_
#define RAMVOL_SERVER_ENGINE_TYPES_STATS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/duration_histogram.h"
#include "base/reason.h"
#include "base/usage_limits.h"

namespace ramvol::engine {

// The spans of frames: 1, 2, 4, 8 and 16 blocks.
inline constexpr int kSpans = 5;

// The calls of a volume that are counted. The names are label values.
enum class Operation : uint8_t {
  kRead,
  kWrite,
  kTrim,
  kWriteZeroes,
  kFlush,
  kExtents,
};
inline constexpr size_t kOperations = 6;
inline constexpr std::array<const char*, kOperations> kOperationNames = {
    "read", "write", "trim", "write_zeroes", "flush", "extents"};

// Why operations fail: some reasons of base/reason.h, and one for all others.
inline constexpr std::array<std::string_view, 10> kErrorReasons = {
    reason::kServerMemoryLimit, reason::kVolumeMemoryLimit,
    reason::kPastEnd,           reason::kVolumeReadOnly,
    reason::kVolumeDeleted,     reason::kCorruptFrame,
    reason::kTooMuchData,       reason::kReadOnlySnapshot,
    reason::kVolumeDamaged,     "OTHER"};

// Statistics of one volume. The numbers are not read at one moment, so they are
// consistent only when the volume is idle.
struct VolumeStats {
  uint64_t size_bytes = 0;
  // Blocks that are not holes, times kBlockBytes.
  uint64_t logical_bytes = 0;
  // The content itself: compressed frames, raw blocks, dirty blocks.
  uint64_t stored_bytes = 0;
  // All memory of the volume: stored bytes, rounding, index, hot blocks,
  // reservation.
  uint64_t memory_bytes = 0;
  uint64_t memory_limit_bytes = 0;  // 0: none.
  // Of memory_bytes: what deleting it would give back, and what it shares with
  // other volumes and snapshots.
  uint64_t own_bytes = 0;
  uint64_t shared_bytes = 0;

  // Non-hole blocks by state; the states do not overlap.
  uint64_t compressed_blocks = 0;
  uint64_t raw_blocks = 0;
  uint64_t same_filled_blocks = 0;
  uint64_t dirty_blocks = 0;

  // Frames by span, and the compressed bytes in them.
  std::array<uint64_t, kSpans> frames = {};
  std::array<uint64_t, kSpans> frame_bytes = {};
  // Compressed bytes of dead blocks: each frame's bytes, times its share of
  // dead blocks.
  uint64_t dead_bytes = 0;

  // This volume's part of the hot cache, and the dirty part of that.
  uint64_t hot_bytes = 0;
  uint64_t dirty_bytes = 0;

  // Counters since creation.
  uint64_t read_operations = 0;
  uint64_t write_operations = 0;
  uint64_t trim_operations = 0;
  uint64_t zero_operations = 0;
  uint64_t flush_operations = 0;
  uint64_t extents_operations = 0;
  uint64_t failed_operations = 0;
  // By operation and reason, in the order of the names. They add up to
  // failed_operations.
  std::array<std::array<uint64_t, kErrorReasons.size()>, kOperations> errors =
      {};
  uint64_t read_bytes = 0;
  uint64_t written_bytes = 0;
  uint64_t trimmed_bytes = 0;
  uint64_t zeroed_bytes = 0;
  uint64_t cache_hits = 0;    // Blocks.
  uint64_t cache_misses = 0;  // Blocks.
  uint64_t merged_frames = 0;
  uint64_t split_frames = 0;
  uint64_t compress_ns = 0;
  uint64_t decompress_ns = 0;
  uint64_t compressions = 0;
  uint64_t decompressions = 0;
  uint64_t corrupt_frames = 0;
  // Sums of the durations of all reads and writes, including failed ones.
  uint64_t read_ns = 0;
  uint64_t write_ns = 0;

  // What holds of Volume::limiter, operations that wait there, and those that
  // have waited, and how long.
  UsageLimits limits;
  uint64_t throttled_now = 0;
  uint64_t throttled_operations = 0;
  uint64_t throttled_ns = 0;

  int attached_clients = 0;
};

// Statistics of the whole engine.
struct EngineStats {
  uint64_t memory_limit_bytes = 0;
  // Counted against the limit: resident pages, and what MALLOC volumes reserve.
  uint64_t memory_used_bytes = 0;
  // Of memory_used_bytes: in live objects and reservations.
  uint64_t memory_allocated_bytes = 0;
  uint64_t hot_cache_limit_bytes = 0;
  uint64_t hot_cache_bytes = 0;
  uint64_t hot_cache_dirty_bytes = 0;
  uint64_t volumes = 0;
  uint64_t snapshots = 0;
  // Of memory_allocated_bytes: what is not one volume's or snapshot's own.
  uint64_t shared_bytes = 0;

  // Counters since the engine was created, including deleted volumes.
  uint64_t hot_cache_hits = 0;       // Blocks.
  uint64_t hot_cache_misses = 0;     // Blocks.
  uint64_t hot_cache_evictions = 0;  // Blocks.
  // Writes that had to compress a chunk because too much was dirty.
  uint64_t throttled_writes = 0;
  // Frames that background work replaced: by larger ones, by smaller ones, or
  // because most of a frame was overwritten or trimmed.
  uint64_t merged_frames = 0;
  uint64_t split_frames = 0;
  uint64_t rewritten_frames = 0;
  uint64_t corrupt_frames = 0;
  // Index nodes that were shared when a change came, and so were copied.
  uint64_t copied_nodes = 0;
  uint64_t read_bytes = 0;
  uint64_t written_bytes = 0;
  // By reason, in the order of kErrorReasons.
  std::array<uint64_t, kErrorReasons.size()> errors = {};
  // By operation.
  std::array<DurationHistogram::Snapshot, kOperations> operations = {};
  DurationHistogram::Snapshot compressions;
  DurationHistogram::Snapshot decompressions;
  // How long snapshots, clones and reverts held up writers.
  DurationHistogram::Snapshot pauses;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_TYPES_STATS_H_
