#include "server/status/quantile.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace ramvol::status {
namespace {

constexpr double kFirstBoundSeconds = 1e-6;

}  // namespace

double Quantile(const DurationHistogram::Snapshot& before,
                const DurationHistogram::Snapshot& after, double q) {
  std::array<uint64_t, DurationHistogram::kBuckets> counts = {};
  uint64_t all = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    // A snapshot that is taken while others record may be ahead of a later one.
    if (after.buckets[i] > before.buckets[i]) {
      counts[i] = after.buckets[i] - before.buckets[i];
    }
    all += counts[i];
  }
  if (all == 0) return std::numeric_limits<double>::quiet_NaN();
  double rank = q * static_cast<double>(all);
  double lower = 0;
  double upper = kFirstBoundSeconds;
  for (size_t i = 0; i + 1 < counts.size(); ++i) {
    const auto count = static_cast<double>(counts[i]);
    if (count > 0 && rank <= count) {
      return lower + (upper - lower) * rank / count;
    }
    rank -= count;
    lower = upper;
    upper *= 2;
  }
  return lower;  // Beyond the last bound.
}

}  // namespace ramvol::status
