// Counts of NBD sessions, for metrics.
#ifndef RAMVOL_NBD_BRIDGE_STATS_H_
#define RAMVOL_NBD_BRIDGE_STATS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/counters.h"
#include "base/door_stats.h"
#include "base/duration_histogram.h"

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
  kCount,
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
  kCount,
};
inline constexpr std::array<const char*, 8> kErrorNames = {
    "none",   "eperm",     "eio",     "einval",
    "enospc", "eoverflow", "enotsup", "eshutdown"};

// Counts of all sessions of one server. Thread-safe; recording takes no lock.
class NbdStats {
 public:
  struct Snapshot {
    uint64_t connections = 0;
    uint64_t inflight_requests = 0;
    std::array<std::array<uint64_t, kErrorNames.size()>, kCommandNames.size()>
        requests = {};
    std::array<DurationHistogram::Snapshot, kCommandNames.size()> durations =
        {};
  };

  NbdStats() = default;
  NbdStats(const NbdStats&) = delete;
  NbdStats& operator=(const NbdStats&) = delete;

  void ConnectionOpened() { counts_->gauges.Add(Gauge::kConnections, 1); }
  void ConnectionClosed() { counts_->gauges.Add(Gauge::kConnections, -1); }
  void RequestBegan() { counts_->gauges.Add(Gauge::kInflight, 1); }
  void RequestEnded(CommandKind command, ErrorKind error, int64_t took_ns);

  Snapshot Get() const;

  DoorStats& door() { return door_; }
  const DoorStats& door() const { return door_; }

 private:
  enum class Gauge { kConnections, kInflight, kCount };

  struct Counts {
    Counters<Gauge> gauges;
    // By command.
    std::array<Counters<ErrorKind>, kCommandNames.size()> requests;
    std::array<DurationHistogram, kCommandNames.size()> durations;
  };

  // On the heap: the counts are too large for a stack, and with ASan, g++ 12
  // does not align stack variables to cache lines.
  DoorStats door_;
  const std::unique_ptr<Counts> counts_ = std::make_unique<Counts>();
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_STATS_H_
