#include "nbd_bridge/stats.h"

#include <algorithm>
#include <bit>

namespace ramvol::nbd {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// The bucket of a duration: the first whose bound, 2^i us, is not smaller.
size_t Bucket(uint64_t nanoseconds) {
  const uint64_t microseconds = (nanoseconds + 999) / 1000;
  if (microseconds <= 1) return 0;
  return std::min<size_t>(std::bit_width(microseconds - 1),
                          NbdStats::kBuckets - 1);
}

}  // namespace

NbdStats::Shard& NbdStats::MyShard() {
  static std::atomic<size_t> next{0};
  thread_local const size_t mine = next.fetch_add(1, kRelaxed) % kShards;
  return shards_[mine];
}

void NbdStats::ConnectionOpened() {
  MyShard().connections.fetch_add(1, kRelaxed);
}

void NbdStats::ConnectionClosed() {
  MyShard().connections.fetch_sub(1, kRelaxed);
}

void NbdStats::RequestBegan() { MyShard().inflight.fetch_add(1, kRelaxed); }

void NbdStats::RequestEnded(CommandKind command, ErrorKind error,
                            uint64_t nanoseconds) {
  Shard& shard = MyShard();
  const auto kind = static_cast<size_t>(command);
  shard.inflight.fetch_sub(1, kRelaxed);
  shard.requests[kind][static_cast<size_t>(error)].fetch_add(1, kRelaxed);
  shard.buckets[kind][Bucket(nanoseconds)].fetch_add(1, kRelaxed);
  shard.nanoseconds[kind].fetch_add(nanoseconds, kRelaxed);
}

NbdStats::Snapshot NbdStats::Get() const {
  Snapshot sum;
  for (size_t i = 0; i < kShards; ++i) {
    const Shard& shard = shards_[i];
    sum.connections += shard.connections.load(kRelaxed);
    sum.inflight_requests += shard.inflight.load(kRelaxed);
    for (size_t kind = 0; kind < kCommandNames.size(); ++kind) {
      for (size_t error = 0; error < kErrorNames.size(); ++error) {
        sum.requests[kind][error] += shard.requests[kind][error].load(kRelaxed);
      }
      for (size_t bucket = 0; bucket < kBuckets; ++bucket) {
        sum.durations[kind].buckets[bucket] +=
            shard.buckets[kind][bucket].load(kRelaxed);
      }
      sum.durations[kind].sum_seconds +=
          static_cast<double>(shard.nanoseconds[kind].load(kRelaxed)) * 1e-9;
    }
  }
  return sum;
}

}  // namespace ramvol::nbd
