// Rates and amounts of the last minutes.
#ifndef RAMVOL_SERVER_STATUS_HISTORY_H_
#define RAMVOL_SERVER_STATUS_HISTORY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/types/stats.h"

namespace ramvol::status {

// The counters at one time.
struct Reading {
  absl::Time time;
  int64_t steady_ns = 0;
  engine::EngineStats engine;
  uint64_t client_memory_used_bytes = 0;
};

// What happened between two readings. Rates are per second, latencies in
// seconds; NaN where nothing was measured.
struct Sample {
  absl::Time time;  // When it ended.
  double read_bytes = 0;
  double written_bytes = 0;
  std::array<double, engine::kOperations> operations = {};
  double errors = 0;
  double read_p50 = 0;
  double read_p99 = 0;
  double write_p50 = 0;
  double write_p99 = 0;
  double hot_cache_hit_ratio = 0;
  uint64_t memory_used_bytes = 0;
  uint64_t hot_cache_bytes = 0;
  uint64_t hot_cache_dirty_bytes = 0;
  uint64_t client_memory_used_bytes = 0;
};

// Not thread-safe.
class History {
 public:
  static constexpr absl::Duration kInterval = absl::Seconds(2);
  // Ten minutes. Older samples are dropped.
  static constexpr size_t kMaxSamples = 300;

  // Adds the sample between the last reading and this one, if there was one.
  void Add(const Reading& reading);
  // Returns the samples that ended after `time`, the oldest first.
  std::vector<Sample> After(absl::Time time) const;

 private:
  std::optional<Reading> last_;
  std::deque<Sample> samples_;
};

}  // namespace ramvol::status

#endif  // RAMVOL_SERVER_STATUS_HISTORY_H_
