// Options of the engine and of volumes.
#ifndef RAMVOL_SERVER_ENGINE_TYPES_OPTIONS_H_
#define RAMVOL_SERVER_ENGINE_TYPES_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

inline constexpr uint64_t kMaxVolumeBytes = std::numeric_limits<int64_t>::max();
// Most bytes of one Read or Write: NBD's largest payload.
inline constexpr uint64_t kMaxTransferBytes = 32 << 20;
inline constexpr int kMinLevel = -50;
inline constexpr int kMaxLevel = 19;
// Low, because writes wait for it.
inline constexpr int kDefaultWriteLevel = 1;
inline constexpr int kDefaultMergeLevel = 8;
inline constexpr uint64_t kMinMemoryLimitBytes = 16 << 20;
// Page numbers have 32 bits (16 TiB), and the arena maps three times the limit.
inline constexpr uint64_t kMaxMemoryLimitBytes = uint64_t{4} << 40;
inline constexpr uint64_t kMinHotCacheBytes = 1 << 20;
inline constexpr int kMaxBackgroundThreads = 64;
inline constexpr size_t kMaxNameBytes = 63;

struct EngineOptions {
  // Bounds everything that volumes take: frames, slack, index, hot blocks and
  // reservations. kMinMemoryLimitBytes to kMaxMemoryLimitBytes.
  uint64_t memory_limit_bytes = uint64_t{1} << 30;
  // Bounds the uncompressed blocks of all volumes; a part of
  // memory_limit_bytes. kMinHotCacheBytes to half of memory_limit_bytes, or 0
  // for an eighth of memory_limit_bytes, at most 1 GiB.
  uint64_t hot_cache_bytes = 0;
  // Threads that compress hot blocks and merge cold chunks. At most
  // kMaxBackgroundThreads; 0 means one for each core, within that bound.
  int background_threads = 0;
  // A chunk is cold when two visits by merging, this far apart, found it
  // untouched. At least 1.
  int merge_interval_ms = 10000;
  // Most volumes that may exist at a time. At least 1.
  int max_volumes = 100000;
  // A folder in a tmpfs, for a memory file that outlives the process: an engine
  // finds there what the last one left. Empty: nothing outlives the process.
  std::string state_dir;

  // INVALID_ARGUMENT names the field, its value and the accepted range.
  absl::Status Validate() const;
};

enum class Allocator {
  kZstd,    // Sparse, compressed.
  kSparse,  // Sparse, not compressed.
  // Not compressed. All memory is reserved at creation: writes never lack any.
  kMalloc,
};

struct VolumeOptions {
  // [a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?
  std::string name;
  // 1 to kMaxVolumeBytes.
  uint64_t size_bytes = 0;
  Allocator allocator = Allocator::kZstd;
  // Bound the run of bytes that is compressed together. Powers of two from
  // kBlockBytes to kChunkBytes, min at most max.
  uint32_t min_frame_bytes = 4096;
  uint32_t max_frame_bytes = 65536;
  // zstd levels, kMinLevel to kMaxLevel, not 0.
  int write_level = kDefaultWriteLevel;
  int merge_level = kDefaultMergeLevel;
  // 0: no limit of its own. Must be 0 for kMalloc.
  uint64_t memory_limit_bytes = 0;
  bool read_only = false;

  // INVALID_ARGUMENT names the field, its value and the accepted range.
  absl::Status Validate() const;
};

// INVALID_ARGUMENT, reason INVALID_NAME, unless `name` is a volume name.
absl::Status ValidateName(std::string_view name);

// What an error shows of a name, which may be anything: no volume has a longer
// one.
inline constexpr size_t kMaxShownNameBytes = 80;
std::string ShownName(std::string_view name);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_TYPES_OPTIONS_H_
