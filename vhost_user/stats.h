// Counts of vhost-user sessions, for metrics.
#ifndef RAMVOL_VHOST_USER_STATS_H_
#define RAMVOL_VHOST_USER_STATS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/counters.h"
#include "base/duration_histogram.h"

namespace ramvol::vhost {

// What a guest asks for. The names are label values.
enum class RequestKind : uint8_t {
  kRead,
  kWrite,
  kFlush,
  kDiscard,
  kWriteZeroes,
  kGetId,
  kUnknown,
  kCount,
};
inline constexpr std::array<const char*, 7> kRequestNames = {
    "read", "write", "flush", "discard", "write_zeroes", "get_id", "unknown"};

// How it was answered, likewise: OK, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_UNSUPP.
enum class ResultKind : uint8_t { kOk, kIoError, kUnsupported, kCount };
inline constexpr std::array<const char*, 3> kResultNames = {"ok", "ioerr",
                                                            "unsupp"};

// Counts of all sessions of one server. Thread-safe; recording takes no lock.
class VhostStats {
 public:
  struct Snapshot {
    uint64_t connections = 0;
    uint64_t sockets = 0;
    std::array<std::array<uint64_t, kResultNames.size()>, kRequestNames.size()>
        requests = {};
    std::array<DurationHistogram::Snapshot, kRequestNames.size()> durations =
        {};
  };

  VhostStats() = default;
  VhostStats(const VhostStats&) = delete;
  VhostStats& operator=(const VhostStats&) = delete;

  void ConnectionOpened() { counts_->gauges.Add(Gauge::kConnections, 1); }
  void ConnectionClosed() { counts_->gauges.Add(Gauge::kConnections, -1); }
  void SocketMade() { counts_->gauges.Add(Gauge::kSockets, 1); }
  void SocketRemoved() { counts_->gauges.Add(Gauge::kSockets, -1); }
  void RequestEnded(RequestKind request, ResultKind result, int64_t took_ns) {
    const auto kind = static_cast<size_t>(request);
    counts_->requests[kind].Add(result, 1);
    counts_->durations[kind].Record(took_ns);
  }

  Snapshot Get() const;

 private:
  enum class Gauge { kConnections, kSockets, kCount };

  struct Counts {
    Counters<Gauge> gauges;
    // By request.
    std::array<Counters<ResultKind>, kRequestNames.size()> requests;
    std::array<DurationHistogram, kRequestNames.size()> durations;
  };

  // On the heap, as the counts are large.
  const std::unique_ptr<Counts> counts_ = std::make_unique<Counts>();
};

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_STATS_H_
