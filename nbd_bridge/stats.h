// What NBD sessions count, for metrics.
#ifndef RAMVOL_NBD_BRIDGE_STATS_H_
#define RAMVOL_NBD_BRIDGE_STATS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace ramvol::nbd {

// The commands, for counting. The names are label values.
enum class CommandKind : uint8_t {
  kRead,
  kWrite,
  kFlush,
  kTrim,
  kCache,
  kWriteZeroes,
  kBlockStatus,
  kUnknown,
};
inline constexpr std::array<const char*, 8> kCommandNames = {
    "read",  "write",        "flush",        "trim",
    "cache", "write_zeroes", "block_status", "unknown"};

// The errors, likewise.
enum class ErrorKind : uint8_t {
  kNone,
  kPerm,
  kIo,
  kInval,
  kNoSpace,
  kOverflow,
  kNotSupported,
  kShutdown,
};
inline constexpr std::array<const char*, 8> kErrorNames = {
    "none",   "eperm",     "eio",     "einval",
    "enospc", "eoverflow", "enotsup", "eshutdown"};

// Counts of all sessions of one server. Thread-safe; recording takes no lock.
// Threads write to different shards, which Get adds up.
class NbdStats {
 public:
  // Upper bounds of the durations' buckets: 1 us, 2 us, 4 us, ... 2^24 us
  // (16.8 s); one more for what takes longer.
  static constexpr size_t kBuckets = 26;

  struct Snapshot {
    uint64_t connections = 0;
    uint64_t inflight_requests = 0;
    std::array<std::array<uint64_t, kErrorNames.size()>, kCommandNames.size()>
        requests = {};
    struct Histogram {
      std::array<uint64_t, kBuckets> buckets = {};  // Not cumulative.
      double sum_seconds = 0;
    };
    std::array<Histogram, kCommandNames.size()> durations = {};
  };

  NbdStats() = default;
  NbdStats(const NbdStats&) = delete;
  NbdStats& operator=(const NbdStats&) = delete;

  void ConnectionOpened();
  void ConnectionClosed();
  void RequestBegan();
  void RequestEnded(CommandKind command, ErrorKind error, uint64_t nanoseconds);

  Snapshot Get() const;

 private:
  static constexpr size_t kShards = 16;
  using Counter = std::atomic<uint64_t>;

  struct alignas(64) Shard {
    Counter connections = 0;  // Opened less closed; wraps.
    Counter inflight = 0;     // Begun less ended; wraps.
    std::array<std::array<Counter, kErrorNames.size()>, kCommandNames.size()>
        requests = {};
    std::array<std::array<Counter, kBuckets>, kCommandNames.size()> buckets =
        {};
    std::array<Counter, kCommandNames.size()> nanoseconds = {};
  };

  Shard& MyShard();

  const std::unique_ptr<Shard[]> shards_ = std::make_unique<Shard[]>(kShards);
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_STATS_H_
