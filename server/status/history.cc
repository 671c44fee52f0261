#include "server/status/history.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "server/status/quantile.h"

namespace ramvol::status {
namespace {

using engine::EngineStats;
using engine::Operation;

double Growth(uint64_t before, uint64_t after) {
  return after > before ? static_cast<double>(after - before) : 0;
}

double HitRatio(const EngineStats& before, const EngineStats& after) {
  const double hits = Growth(before.hot_cache_hits, after.hot_cache_hits);
  const double misses = Growth(before.hot_cache_misses, after.hot_cache_misses);
  if (hits + misses == 0) return std::numeric_limits<double>::quiet_NaN();
  return hits / (hits + misses);
}

uint64_t Errors(const EngineStats& stats) {
  return std::accumulate(stats.errors.begin(), stats.errors.end(), uint64_t{0});
}

Sample Between(const Reading& from, const Reading& to) {
  const EngineStats& before = from.engine;
  const EngineStats& after = to.engine;
  const double seconds =
      std::max<double>(1, static_cast<double>(to.steady_ns - from.steady_ns)) /
      1e9;
  const auto took = [&](Operation operation, double q) {
    const auto i = static_cast<size_t>(operation);
    return Quantile(before.operations[i], after.operations[i], q);
  };
  Sample sample;
  sample.time = to.time;
  sample.read_bytes = Growth(before.read_bytes, after.read_bytes) / seconds;
  sample.written_bytes =
      Growth(before.written_bytes, after.written_bytes) / seconds;
  for (size_t i = 0; i < engine::kOperations; ++i) {
    sample.operations[i] =
        Growth(before.operations[i].count(), after.operations[i].count()) /
        seconds;
  }
  sample.errors = Growth(Errors(before), Errors(after)) / seconds;
  sample.read_p50 = took(Operation::kRead, 0.5);
  sample.read_p99 = took(Operation::kRead, 0.99);
  sample.write_p50 = took(Operation::kWrite, 0.5);
  sample.write_p99 = took(Operation::kWrite, 0.99);
  sample.hot_cache_hit_ratio = HitRatio(before, after);
  sample.memory_used_bytes = after.memory_used_bytes;
  sample.hot_cache_bytes = after.hot_cache_bytes;
  sample.hot_cache_dirty_bytes = after.hot_cache_dirty_bytes;
  sample.client_memory_used_bytes = to.client_memory_used_bytes;
  return sample;
}

}  // namespace

void History::Add(const Reading& reading) {
  if (last_.has_value()) {
    if (samples_.size() == kMaxSamples) samples_.pop_front();
    samples_.push_back(Between(*last_, reading));
  }
  last_ = reading;
}

std::vector<Sample> History::After(absl::Time time) const {
  std::vector<Sample> later;
  for (const Sample& sample : samples_) {
    if (sample.time > time) later.push_back(sample);
  }
  return later;
}

}  // namespace ramvol::status
